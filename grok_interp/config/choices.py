"""What a setting may be, where it is one of a few words."""

from __future__ import annotations

from typing import Literal

NamedActivation = Literal["relu", "quadratic", "gelu", "identity"]
ActivationName = Literal[NamedActivation, "custom"]
InitName = Literal["uniform", "normal"]
DTypeName = Literal["float32", "float64", "float16", "bfloat16"]
FrequencyMode = Literal["joint", "per_matrix", "input"]
Waveform = Literal["square", "cosine", "trapezoid"]
InputWaveform = Literal["square", "cosine", "trapezoid", "sign"]
AmplitudeRule = Literal["extracted", "uniform"]
OutputPhase = Literal["own", "phase_sum"]
OptimizerName = Literal["adamw", "adam", "sgd"]
LossName = Literal["cross_entropy", "cross_entropy_float64", "mse", "stablemax"]
GradientRule = Literal["plain", "orthogonal", "grokfast"]
Constraint = Literal["none", "sphere", "per_layer"]
MatmulPrecision = Literal["highest", "high", "medium"]
FormatName = Literal[
    "feature_learning", "text_matrices", "pizza", "linear_pair", "two_embeddings", "transformer"
]
ReadoutFit = Literal["ridge", "train"]
LrRule = Literal["fixed", "proportional"]
ProblemName = Literal["modular", "teacher_student", "images", "language", "molecules"]
StudyName = Literal[
    "headline", "diagram", "onset", "waves", "lottery", "generality", "breaks", "costs", "all"
]
StudySize = Literal["small", "full"]
Which = Literal["last", "best"]
"""Of the values along a run, those of its last evaluation or the best of each."""
