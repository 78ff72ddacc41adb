"""One full-batch training step against its three matrix products and against a user's own loop.

    python benchmarks/train_step.py [--p 113 --d-mlp 512 --fraction 0.4 --rounds 30]

The floor is the products that no step can avoid: logits, the gradient of W_out, the gradient of the
activations. The user's loop is ``nn.Sequential`` on dense one-hots with AdamW. All run in turns of
five steps. With --precision medium the library's step alone may use reduced precision.
Exits with status 1 if a step takes more than 1.25 floors, or the loop less than 1.6 steps.
"""

import argparse

import torch
import torch.nn.functional as F
from timing import finish, interleaved
from torch import nn

from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Lockstep
from grok_interp.tasks import ModularTask, Split
from grok_interp.training import make_job

MOST_FLOORS, LEAST_GAIN = 1.25, 1.6
TURN = 5


def library(split: Split, d_mlp: int, precision: str):
    model = HookedMLP(p=split.task.p, d_mlp=d_mlp, seed=0)
    stack = Lockstep([make_job(model, split, TrainConfig(progress=False))])
    done = 0

    def step() -> None:
        nonlocal done
        torch.set_float32_matmul_precision(precision)
        for _ in range(TURN):
            stack.step(done)
            done += 1
        torch.set_float32_matmul_precision("highest")

    return step


def floor(n: int, d_mlp: int, p: int):
    post, W_out, g = torch.rand(n, d_mlp), torch.rand(d_mlp, p), torch.rand(n, p)
    logits, dW_out, dpost = torch.empty(n, p), torch.empty(d_mlp, p), torch.empty(n, d_mlp)

    def products() -> None:
        for _ in range(TURN):
            torch.mm(post, W_out, out=logits)
            torch.mm(post.T, g, out=dW_out)
            torch.mm(g, W_out.T, out=dpost)

    return products


def dense(split: Split, d_mlp: int):
    p = split.task.p
    hot, labels = F.one_hot(split.train_tokens, p).flatten(1).float(), split.train_labels
    model = nn.Sequential(
        nn.Linear(2 * p, d_mlp, bias=False), nn.ReLU(), nn.Linear(d_mlp, p, bias=False)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)

    def step() -> None:
        for _ in range(TURN):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(hot), labels)
            loss.backward()
            optimizer.step()
            loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--d-mlp", type=int, default=512)
    parser.add_argument("--fraction", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--precision", default="highest", choices=["highest", "high", "medium"])
    args = parser.parse_args()
    split = ModularTask(args.p).split(args.fraction)
    n = len(split.train_index)
    seconds = interleaved(
        {
            "floor": floor(n, args.d_mlp, args.p),
            "library": library(split, args.d_mlp, args.precision),
            "dense loop": dense(split, args.d_mlp),
        },
        args.rounds,
    )
    over_floor = seconds["library"] / seconds["floor"]
    gain = seconds["dense loop"] / seconds["library"]
    print(f"p={args.p}, d_mlp={args.d_mlp}, {n} training pairs, {torch.get_num_threads()} threads")
    print(f"library step / three matrix products: {over_floor:.3f} (at most {MOST_FLOORS})")
    print(f"dense loop / library step:            {gain:.3f} (at least {LEAST_GAIN})")
    print(f"dense loop / three matrix products:   {seconds['dense loop'] / seconds['floor']:.3f}")
    missed = []
    if over_floor > MOST_FLOORS:
        missed.append(f"a step takes {over_floor:.3f} floors, at most {MOST_FLOORS}")
    if gain < LEAST_GAIN:
        missed.append(f"the dense loop takes {gain:.3f} steps, at least {LEAST_GAIN}")
    finish(missed)


if __name__ == "__main__":
    main()
