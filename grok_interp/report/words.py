"""What the page says: headings and captions, and what each number and word means."""

from __future__ import annotations

PANELS = {
    "learning": (
        "Accuracy along the run",
        "Own accuracy on the labels trained on and on held-out pairs, and accuracy over all pairs with "
        "ideal weights. The bands are the range of the frozen-input control over its draws: random input "
        "weights with a read-out fitted to the same labels, idealised by the same recipe.",
    ),
    "effect": (
        "Effect beside its controls",
        "Over all pairs, at this step. The untrained and frozen-input controls are made from the weights "
        "at step 0, so they are the same at every step; the others are made from the trained weights, and "
        "were drawn at the last step only.",
    ),
    "phase_sum": (
        "Phase relation, neuron by neuron",
        "A marker a neuron, larger if louder (joint frequencies). Neurons that add lie on the line, or in "
        "the corners that it comes to on the circle. Step 0 is the untrained network. Click one to open it.",
    ),
    "residual": (
        "How far neurons are from the phase relation",
        "By amplitude, beside the untrained network and one draw of the frozen-input control, which comes "
        "near the relation without any learned wave.",
    ),
    "census": (
        "Which frequencies the neurons take",
        "Neurons in which each matrix by itself has the same frequency, beside the untrained network "
        "and one "
        "draw of the frozen-input control.",
    ),
    "fits": (
        "Square wave or cosine?",
        "R2 of each neuron's weights to its own square wave and cosine (joint frequencies). Above the line "
        "a neuron is closer to a square wave. Click one to open it.",
    ),
    "maps": (
        "All weights, sorted by frequency",
        "A row a neuron, about its mean and divided by its root mean square, at the stored step nearest to "
        "the slider. Sorting makes stripes in noise too: look at step 0, and whether W_b and W_out follow "
        "W_a. Click a row to open the neuron.",
    ),
}
"""Heading and caption of each panel, in the order of the page."""
NEURON_COLUMNS = {
    "neuron": "index of the neuron",
    "k": "frequency in joint mode: argmax of the product of the three normalised power spectra; 0 for none",
    "k_a": "frequency of W_a by itself (per_matrix mode)",
    "k_b": "frequency of W_b by itself",
    "k_out": "frequency of the neuron's row of W_out by itself",
    "agree": "whether the three frequencies, each by itself, are one: 1 yes, 0 no",
    "amplitude_a": "amplitude of W_a's sinusoid at k, in the units of the weights",
    "amplitude_b": "the same of W_b",
    "amplitude_out": "the same of W_out",
    "phase_a": "phase of W_a's sinusoid at k, radians in (-pi, pi]",
    "phase_b": "the same of W_b",
    "phase_out": "the same of W_out",
    "residual": "phase residual, wrap(phi_a + phi_b - phi_out) in radians (phi_a - phi_b for subtraction); "
    "empty without a frequency",
    "ipr": "inverse participation ratio, mean over the three columns: 1 for a pure sinusoid",
    "power_share_a": "share of W_a's energy about its mean at k",
    "power_share_b": "the same of W_b",
    "power_share_out": "the same of W_out",
    "r2_square_a": "R2 of W_a to its square wave at level pi/4 A; 1 is a square wave",
    "r2_square_b": "the same of W_b",
    "r2_square_out": "the same of W_out",
    "r2_cosine_a": "R2 of W_a to its cosine, to which a perfect square wave has .81",
    "r2_cosine_b": "the same of W_b",
    "r2_cosine_out": "the same of W_out",
    "dead": "1 if no input reaches the neuron or no class hears it",
}
"""What each column of the neuron table is."""


TERMS = {
    "all pairs": "all p * p pairs, on the task's labels; ties count as wrong",
    "held-out pairs": "pairs that were not trained on, with the task's labels",
    "held out": "accuracy on pairs that were not trained on, with the task's labels",
    "pairs trained on": "training pairs, with the labels trained on, noise included",
    "chance": "1 / p, the accuracy of guessing",
    "excess": "accuracy with ideal weights minus the mean of a control's draws, both over all pairs",
    "per_matrix": "frequency mode: W_a, W_b and W_out of a neuron find their frequency each by itself",
    "joint": "frequency mode: one frequency for the three matrices of a neuron, the argmax of the "
    "product of "
    "their normalised power spectra",
    "as large waves of other frequencies": "the control of the removal: the same amplitudes, another "
    "frequency "
    "for each neuron, random phases; mean [minimum, maximum] over its draws",
    "own": "the network as it is",
    "idealised": "the network with ideal weights",
    "untrained": "initial weights of the same shape, idealised: selection effects",
    "frozen_input": "random input weights, never trained, with a read-out fitted to the same labels, "
    "idealised "
    "by the same recipe: mean, minimum and maximum over its draws",
    "frozen-input control": "random input weights, never trained, with a read-out fitted to the same "
    "labels, "
    "idealised by the same recipe: mean [minimum, maximum] over its draws",
    "refitted_readout": "trained input weights with a read-out refitted to the training labels, "
    "idealised: how "
    "much sits in W_in; no null",
    "permuted_output": "rows of W_out permuted among all neurons, idealised: the pairing of frequencies",
    "permuted_within_frequency": "rows of W_out permuted among neurons of one frequency, idealised: the "
    "phase "
    "relation",
    "random_phase": "output phases drawn anew after extraction: the phase relation",
    "wrong_task": "the ideal network scored against the sum with the sign of b turned",
    "wrong_coordinates": "tokens relabelled at random before extraction: the prior that idealization injects",
    "power kept": "share of the weights' energy about their means at their neurons' frequencies",
    "phase residual": "phi_a + phi_b - phi_out (phi_a - phi_b for subtraction) in radians, by amplitude",
}
"""What the words of answers and tables mean: shown under the mouse, and in the list of definitions."""
ANSWERED_BY = (
    "Accuracy with ideal weights, each matrix read by itself, beside the frozen-input control: mean "
    "[minimum, maximum] over its draws. Yes: .9 and more of all pairs. In part: .1 above the control's mean "
    "and above its range",
    "Accuracy after the ideal waves (joint frequencies) were subtracted from the weights, beside the same "
    "with as large waves of other frequencies: mean [minimum, maximum] over draws. Hardly: it loses less "
    "than .1. Yes: it loses .1 more than the control does, and more than in any draw",
    "The first checkpoint from which on a measure stays above its level at every later one",
    "Accuracies at the last checkpoint, on held-out pairs as it is, and over all pairs with ideal weights, "
    "for the network and for each control by the same recipe. An excess below .1 is called small",
)
"""What was measured for the answer to each question."""
CONTROL_TABLE = (
    "Accuracies over all pairs (mean, minimum, maximum over draws) and on held-out pairs (mean), of networks "
    "with ideal weights but for 'own', all by one recipe"
)
"""What the numbers in a table of controls are."""
