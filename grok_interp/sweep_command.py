"""What ``grok-interp sweep`` does: train what is not there yet, and say what came of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from grok_interp import sweep
from grok_interp.config import SweepConfig

MOST_REASONS = 5
"""Reasons of failed runs that are printed; all are in the store."""


def run(config: SweepConfig, out: Path, executor: str, *, retry_failed: bool = False) -> int:
    """Run a sweep, print how it went, and how to go on after Ctrl-C.

    Args:
        config: The sweep.
        out: Directory of the store.
        executor: Where jobs run, as for :func:`grok_interp.sweep.run`.
        retry_failed: Whether runs that failed before run again.

    Returns:
        Exit status: 0 if every run of the sweep has finished, 1 if some have failed.

    Raises:
        KeyboardInterrupt: As it came.
    """
    total = len(config.expanded)
    print(f"{total} runs in {out}", flush=True)
    try:
        tally = sweep.run(config, out, executor, retry_failed=retry_failed)
    except KeyboardInterrupt:
        there = sweep.Store(out).statuses()
        stored = sum(each.name in there for each in config.expanded)
        print(f"\n{stored} of {total} runs are in {out}; the same command goes on with the others")
        raise
    print(f"{out}: {tally}")
    reasons = Counter(tally.failed.values()).most_common()
    for reason, count in reasons[:MOST_REASONS]:
        print(f"  failed, {count} {'run' if count == 1 else 'runs'}: {reason}")
    if len(reasons) > MOST_REASONS:
        print(
            f"  and {len(reasons) - MOST_REASONS} other reasons: grok_interp.sweep.read(failed=True)"
        )
    if tally.failed_before:
        print("  runs that failed before are tried again with --retry-failed")
    print(f"next: grok_interp.sweep.read({str(out)!r}) gives a table with a row a run")
    return 1 if tally.failed or tally.failed_before else 0
