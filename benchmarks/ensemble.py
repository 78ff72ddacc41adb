"""Steps of stacked networks against single runs one after another, and against their bare products.

    python benchmarks/ensemble.py [--rounds 9]

For each shape: 32 members with seeds, splits, learning rates and decays of their own, trained by the
stacks that ``ensemble.train`` would make, against one network stepping alone; and the three batched
matrix products of a step. Exits with status 1 if members at p=23, d_mlp=128 take less than 2 times
the steps per second of single runs, or at larger shapes are more than 5% slower, which is what two
equal measurements differ by here.
"""

import argparse
from dataclasses import replace

import torch
from timing import finish, interleaved

from grok_interp import ensemble
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Lockstep
from grok_interp.runs import InMemory
from grok_interp.tasks import ModularTask
from grok_interp.training import Member, make_job

MEMBERS = 32
SHAPES = {(23, 128): 2.0, (59, 256): 0.95, (113, 512): 0.95}
"""p and d_mlp, and the least gain over single runs."""
STEPS = {(23, 128): 12, (59, 256): 3, (113, 512): 1}
"""Steps of each member in a turn."""


def stacks(p: int, d_mlp: int, members: int, *, own_rates: bool):
    """The stacks that an ensemble of these members is cut into."""
    task = ModularTask(p)
    config = TrainConfig(progress=False)
    each = []
    for i in range(members):
        own = (
            replace(config, lr=1e-3 * (1 + i / 32), weight_decay=1 + i / 64)
            if own_rates
            else config
        )
        job = make_job(HookedMLP(p=p, d_mlp=d_mlp, seed=i), task.split(0.5, seed=i), own)
        each.append(Member(job, InMemory()))
    return [Lockstep([member.job for member in block]) for block in ensemble.blocks(each)]


def stepping(made: list[Lockstep], steps: int):
    done = 0

    def run() -> None:
        nonlocal done
        for stack in made:
            for number in range(done, done + steps):
                stack.step(number)
        done += steps

    return run


def products(p: int, d_mlp: int, networks: int, steps: int):
    pairs = p * p // 2
    post, W_out = torch.rand(networks, pairs, d_mlp), torch.rand(networks, d_mlp, p)
    g, logits = torch.rand(networks, pairs, p), torch.empty(networks, pairs, p)
    dW_out, dpost = torch.empty(networks, d_mlp, p), torch.empty(networks, pairs, d_mlp)

    def run() -> None:
        for _ in range(steps):
            torch.bmm(post, W_out, out=logits)
            torch.bmm(post.mT, g, out=dW_out)
            torch.bmm(g, W_out.mT, out=dpost)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    missed = []
    print(f"{torch.get_num_threads()} threads; times a member-step, relative to a single run's")
    for (p, d_mlp), least in SHAPES.items():
        steps = STEPS[p, d_mlp]
        things, member_steps = {}, {}
        made = {
            "single runs": stacks(p, d_mlp, 1, own_rates=False),
            "members of 4": stacks(p, d_mlp, 4, own_rates=True),
            f"members of {MEMBERS}": stacks(p, d_mlp, MEMBERS, own_rates=True),
            f"members of {MEMBERS}, one rate": stacks(p, d_mlp, MEMBERS, own_rates=False),
        }
        block = max(len(stack) for stack in made[f"members of {MEMBERS}"])
        for name, stack in made.items():
            count = sum(len(each) for each in stack)
            # As many member-steps in each turn, so that none is measured for longer than another.
            each_steps = max(1, steps * MEMBERS // count)
            things[name], member_steps[name] = stepping(stack, each_steps), each_steps * count
        repeats = max(1, steps * MEMBERS // block)
        things["bare products"] = products(p, d_mlp, block, repeats)
        member_steps["bare products"] = repeats * block
        seconds = {
            name: time / member_steps[name] for name, time in interleaved(things, rounds, 1).items()
        }
        print(f"p={p}, d_mlp={d_mlp}, blocks of {block}:")
        for name, time in seconds.items():
            gain = seconds["single runs"] / time
            bound = f" (at least {least:g})" if name.startswith("members of 32") else ""
            print(f"  {name:<24} {gain:5.2f} times as fast{bound}")
            if bound and gain < least:
                missed.append(
                    f"p={p}, d_mlp={d_mlp}: {name} {gain:.2f} times as fast, at least {least:g}"
                )
    finish(missed)


if __name__ == "__main__":
    main()
