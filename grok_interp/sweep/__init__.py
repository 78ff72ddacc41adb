"""Many runs: a grid of settings, any executor, and a store that loses and doubles nothing.

Runs of one shape train as one stack, which is one job: settings and a path in, the path of a file out. Jobs
go to any ``concurrent.futures.Executor``. The store is a Parquet dataset, a file for each finished job, with
a row for each run and all of its settings. A run is known by the hash of its settings, so a sweep that is
given again skips what is there and goes on with the rest. What is not kept is the weights: train one run
again for them, its settings are in its row (:func:`grok_interp.sweep.store.settings`).
"""

from __future__ import annotations

from grok_interp.config import MeasureConfig as MeasureConfig
from grok_interp.config import SweepConfig as SweepConfig
from grok_interp.config import SweepRun as SweepRun
from grok_interp.sweep.executors import opened as opened
from grok_interp.sweep.jobs import Job as Job
from grok_interp.sweep.jobs import plan as plan
from grok_interp.sweep.jobs import train_and_measure as train_and_measure
from grok_interp.sweep.running import Tally as Tally
from grok_interp.sweep.running import remaining as remaining
from grok_interp.sweep.running import run as run
from grok_interp.sweep.store import Store as Store
from grok_interp.sweep.store import read as read
from grok_interp.sweep.store import settings as settings
from grok_interp.sweep.store import unnest as unnest
