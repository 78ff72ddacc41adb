"""Loss against weight norm: the reduced landscape of arXiv 2210.01117, and training from a large norm.

For networks whose parameters start at ``alpha`` times their usual initialisation and are rescaled to that
norm after each step (:mod:`.sphere`), the train loss against alpha is an "L" and the test loss a "U". Where
alpha is large and decay is small, a network sits on the right arm: it fits the training data at once, and
generalises when decay has brought its norm down to the U's minimum. :func:`.reduced` measures the
first, :func:`.landscape.training.train` without a constraint the second, :mod:`.shapes` and
:mod:`.laws` put numbers to both::

    problem = problems.teacher_student()            # or a Problem of your own, or a ModularProblem
    frame = landscape.reduced(problem, LandscapeConfig(seeds=(0, 1, 2)))
    landscape.numbers(frame)                        # w_c, the Goldilocks zone, the arms, with intervals

What is not evidence: see :mod:`.shapes`. Of the latent algorithm, idealised accuracies without their excess
over the frozen_input control, which stand beside them in ``train(...).latent``.
"""

from __future__ import annotations

from grok_interp.config import LEVEL as LEVEL
from grok_interp.config import LandscapeConfig as LandscapeConfig
from grok_interp.landscape.cells import Curves as Curves
from grok_interp.landscape.cells import read as read
from grok_interp.landscape.laws import PowerLaw as PowerLaw
from grok_interp.landscape.laws import generalisation_law as generalisation_law
from grok_interp.landscape.laws import norm_decay as norm_decay
from grok_interp.landscape.laws import times as times
from grok_interp.landscape.shapes import DEFINITIONS as DEFINITIONS
from grok_interp.landscape.shapes import numbers as numbers
from grok_interp.landscape.training import last_and_best as last_and_best
from grok_interp.landscape.training import reduced as reduced
from grok_interp.landscape.training import train as train
from grok_interp.problems import Data as Data
from grok_interp.problems import ModularProblem as ModularProblem
from grok_interp.problems import Problem as Problem
from grok_interp.problems import Side as Side
from grok_interp.problems import teacher_student as teacher_student
from grok_interp.sphere import Sphere as Sphere
from grok_interp.sphere import norm as norm
from grok_interp.sphere import scale as scale
