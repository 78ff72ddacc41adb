"""What reduced-precision matrix products gain, and what they do to when a network groks.

    python benchmarks/precision.py [--seeds 2 --steps 5000]

Trains the same networks (p=59, d_mlp=512, half of the pairs, AdamW, weight decay 1) at each value of
``matmul_precision`` and prints the time relative to "highest", the step from which on test accuracy
stays above .99, and how far the weights have come from those at "highest". Measures; bounds nothing.
"""

import argparse
import time

import torch

from grok_interp import dynamics, training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

P, D_MLP = 59, 512
PRECISIONS = ("highest", "high", "medium")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5000)
    args = parser.parse_args()
    task = ModularTask(P)
    print(f"p={P}, d_mlp={D_MLP}, {args.steps} steps, {torch.get_num_threads()} threads")
    for seed in range(args.seeds):
        reference: tuple[float, torch.Tensor] | None = None
        for precision in PRECISIONS:
            model = HookedMLP(p=P, d_mlp=D_MLP, seed=seed)
            config = TrainConfig(
                steps=args.steps, eval_every=50, matmul_precision=precision, progress=False
            )
            start = time.perf_counter()
            run = training.train(model, task.split(0.5, seed=seed), config)
            seconds = time.perf_counter() - start
            weights = model.W_in.detach().clone()
            reference = reference or (seconds, weights)
            when = dynamics.onset(run.metrics["test_accuracy"], 0.99)
            apart = float((weights - reference[1]).norm() / reference[1].norm())
            print(
                f"seed {seed}, {precision:<8} time {seconds / reference[0]:.2f}, test accuracy > .99 "
                f"{when}, W_in {apart:.3f} of its norm away"
            )


if __name__ == "__main__":
    main()
