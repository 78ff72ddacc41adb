"""Times of several things measured in turns, so that what slows the machine slows all of them."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping


def interleaved(
    things: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3
) -> dict[str, float]:
    """Median seconds of each thing over ``rounds`` rounds, in each of which all take their turn."""
    for _ in range(warmup):
        for run in things.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, run in things.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def finish(missed: list[str]) -> None:
    """Say which bounds were missed and end with status 1, or say that all were met."""
    print("\n".join(f"MISSED: {each}" for each in missed) or "all bounds met")
    sys.exit(1 if missed else 0)
