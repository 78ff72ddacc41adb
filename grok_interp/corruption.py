"""Phases of learning from corrupted labels, by train and test accuracy.

A share ``xi`` of the training labels is redrawn from all p classes (``label_noise``). A redrawn label is
right by luck with 1/p, so a network that answers every pair by the task has the train accuracy::

    1 - xi (1 - 1/p)

on the labels it was trained on. One that has memorised them all has 1. The five phases of Doshi et al.
(arXiv 2310.13061, section 2) divide what lies between and below.
"""

from __future__ import annotations

from typing import Literal, SupportsFloat

GeneralisationPhase = Literal[
    "coexistence", "partial inversion", "full inversion", "memorisation", "forgetting"
]
HIGH = 0.9
"""Accuracy from which a network counts as having generalised, or memorised."""
MARGIN = 0.05
"""Train accuracy above ``1 - label_noise`` that shows that some corrupted labels are kept."""
ROUNDING = 1e-9
"""What floating-point arithmetic may take off a share that is on a threshold."""


def generalisation_phase(
    train_accuracy: SupportsFloat, test_accuracy: SupportsFloat, label_noise: SupportsFloat
) -> GeneralisationPhase:
    """The phase of a network that was trained on corrupted labels (arXiv 2310.13061).

    ========================  =================================  ===================================
    phase                     test >= .9, and train              what the network does
    ========================  =================================  ===================================
    ``coexistence``           >= .9                              memorises and generalises
    ``partial inversion``     >= 1.05 - label_noise, below .9    corrects some corrupted labels
    ``full inversion``        < 1.05 - label_noise, below .9     corrects them all
    ========================  =================================  ===================================

    With test < .9 it is ``memorisation`` if train >= .9, else ``forgetting``. Train accuracy under full
    inversion is ``1 - xi (1 - 1/p)``, not ``1 - xi``: a redrawn label is right by luck with 1/p.

    What misleads:

    - The thresholds are the paper's, and nothing changes abruptly at them. With ``label_noise`` up to .15
      there is no partial inversion, and up to .1 a network that corrects every label still has .9 on the
      train side and is called coexistence. With p below ``20 xi`` luck alone lifts full inversion over
      ``1.05 - xi``, and it is called partial.
    - Forgetting is every other failure too: a run that was stopped early, or whose weights have decayed to
      zero. :func:`grok_interp.measures.accuracy` counts ties as wrong, so the latter has 0 and not 1/p.
    - A phase is that of one run. Near a boundary seeds, and the step at which one looks, decide.

    Args:
        train_accuracy: Share of training pairs, 0..1, on the labels trained on, corrupted ones included;
            a number, or a tensor that holds one.
        test_accuracy: Share of held-out pairs, 0..1, on their true labels.
        label_noise: xi, the share of training labels redrawn, 0..1.

    Returns:
        The phase's name.

    Raises:
        ValueError: If a number is not in 0..1, as a percentage or NaN is not.
    """
    train, test, noise = float(train_accuracy), float(test_accuracy), float(label_noise)
    shares = {"train_accuracy": train, "test_accuracy": test, "label_noise": noise}
    for name, share in shares.items():
        if not 0 <= share <= 1:  # NaN too
            raise ValueError(
                f"{name}={share} must be a share in 0..1: divide a percentage by 100, and for NaN look "
                "whether there were pairs to measure on"
            )
    remembers = train >= HIGH - ROUNDING
    if test < HIGH - ROUNDING:
        return "memorisation" if remembers else "forgetting"
    if remembers:
        return "coexistence"
    keeps_some = train >= 1 + MARGIN - noise - ROUNDING
    return "partial inversion" if keeps_some else "full inversion"
