"""Named studies: what the claims come to over many seeds, each beside its controls.

A study is a question, its sweeps in two sizes (a TOML file beside this one), and an analysis that makes small
tables and sentences of the runs. ``small`` answers it on two cores in minutes; ``full`` has the sizes of the
papers. Seeds are the unit of inference throughout: intervals are bootstraps over them.
"""

from __future__ import annotations

from grok_interp.study.loading import NAMES as NAMES
from grok_interp.study.loading import SIZES as SIZES
from grok_interp.study.loading import Result as Result
from grok_interp.study.loading import Study as Study
from grok_interp.study.loading import analyse as analyse
from grok_interp.study.loading import in_words as in_words
from grok_interp.study.loading import load as load
from grok_interp.study.loading import read as read
from grok_interp.study.loading import read_table as read_table
