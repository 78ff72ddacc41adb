"""What hook points cost: a forward pass over all pairs against the same arithmetic without them.

    python benchmarks/hooks.py [--p 113 --d-mlp 512 --rounds 100]

The plain functions are two look-ups, a sum, ReLU and one product. The model runs with nothing
attached, with its activations cached except ``hook_embed``, and with all of them cached, which makes
``hook_embed``, twice the size of the others, besides. All run in turns, without gradients.
Exits with status 1 if the three take more than 1.10, 1.15 and 1.8 times what plain functions take.
"""

import argparse

import torch
import torch.nn.functional as F
from timing import finish, interleaved

from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

OTHERS = ["blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out"]

MOST = {"nothing attached": 1.10, "cache without hook_embed": 1.15, "full cache": 1.8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--d-mlp", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    model = HookedMLP(p=args.p, d_mlp=args.d_mlp, seed=0)
    tokens = ModularTask(args.p).tokens
    W_in, W_out = model.W_in.detach(), model.W_out.detach()

    def plain() -> torch.Tensor:
        pre = F.embedding(tokens[:, 0], W_in[0]) + F.embedding(tokens[:, 1], W_in[1])
        return F.relu(pre) @ W_out

    with torch.no_grad():
        seconds = interleaved(
            {
                "plain functions": plain,
                "nothing attached": lambda: model(tokens),
                "cache without hook_embed": lambda: model.run_with_cache(
                    tokens, names_filter=OTHERS
                ),
                "full cache": lambda: model.run_with_cache(tokens),
            },
            args.rounds,
        )
    base = seconds["plain functions"]
    print(f"p={args.p}, d_mlp={args.d_mlp}, {len(tokens)} pairs, {torch.get_num_threads()} threads")
    missed = []
    for name, most in MOST.items():
        ratio = seconds[name] / base
        print(f"{name} / plain functions: {ratio:.3f} (at most {most})")
        if ratio > most:
            missed.append(f"{name} takes {ratio:.3f} times plain functions, at most {most}")
    finish(missed)


if __name__ == "__main__":
    main()
