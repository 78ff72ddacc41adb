"""Every dataclass that a user writes in TOML or on the command line. Imports no torch.

All are frozen, hold plain Python values, and check themselves when they are made: each error names
the value it got, what was expected, and what to do next. Their files are for reading; users and other modules
take every name from here.
"""

from __future__ import annotations

from grok_interp.config.checks import check_choice as check_choice
from grok_interp.config.checks import check_modulus as check_modulus
from grok_interp.config.choices import ActivationName as ActivationName
from grok_interp.config.choices import AmplitudeRule as AmplitudeRule
from grok_interp.config.choices import Constraint as Constraint
from grok_interp.config.choices import DTypeName as DTypeName
from grok_interp.config.choices import FormatName as FormatName
from grok_interp.config.choices import FrequencyMode as FrequencyMode
from grok_interp.config.choices import GradientRule as GradientRule
from grok_interp.config.choices import InitName as InitName
from grok_interp.config.choices import InputWaveform as InputWaveform
from grok_interp.config.choices import LossName as LossName
from grok_interp.config.choices import LrRule as LrRule
from grok_interp.config.choices import MatmulPrecision as MatmulPrecision
from grok_interp.config.choices import NamedActivation as NamedActivation
from grok_interp.config.choices import OptimizerName as OptimizerName
from grok_interp.config.choices import OutputPhase as OutputPhase
from grok_interp.config.choices import ProblemName as ProblemName
from grok_interp.config.choices import ReadoutFit as ReadoutFit
from grok_interp.config.choices import StudyName as StudyName
from grok_interp.config.choices import StudySize as StudySize
from grok_interp.config.choices import Waveform as Waveform
from grok_interp.config.choices import Which as Which
from grok_interp.config.landscapes import ALPHAS as ALPHAS
from grok_interp.config.landscapes import LEVEL as LEVEL
from grok_interp.config.landscapes import LandscapeConfig as LandscapeConfig
from grok_interp.config.landscapes import LandscapeRun as LandscapeRun
from grok_interp.config.networks import NAMED_OPERATIONS as NAMED_OPERATIONS
from grok_interp.config.networks import HookedMLPConfig as HookedMLPConfig
from grok_interp.config.networks import SplitConfig as SplitConfig
from grok_interp.config.networks import TaskConfig as TaskConfig
from grok_interp.config.reading import from_dict as from_dict
from grok_interp.config.reading import read_toml as read_toml
from grok_interp.config.reading import to_dict as to_dict
from grok_interp.config.recipes import DemoConfig as DemoConfig
from grok_interp.config.recipes import Recipe as Recipe
from grok_interp.config.runs import EXISTS as EXISTS
from grok_interp.config.runs import LOG_SPACED_PER_DECADE as LOG_SPACED_PER_DECADE
from grok_interp.config.runs import METRICS as METRICS
from grok_interp.config.runs import RunConfig as RunConfig
from grok_interp.config.runs import StopRule as StopRule
from grok_interp.config.runs import TrainConfig as TrainConfig
from grok_interp.config.sweeps import MeasureConfig as MeasureConfig
from grok_interp.config.sweeps import SweepConfig as SweepConfig
from grok_interp.config.sweeps import SweepRun as SweepRun
