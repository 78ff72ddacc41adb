"""Figures: data in, plotly figure out. What is computed here is means, ranges and histograms to draw.

One colour per meaning throughout, from the palette of Okabe and Ito, which colour-blind readers can
tell apart; dashes and symbols differ as well, so that figures survive being printed in grey.
"""

from __future__ import annotations

from grok_interp.figures.all_neurons import neuron_order as neuron_order
from grok_interp.figures.all_neurons import wave_fits as wave_fits
from grok_interp.figures.all_neurons import weight_maps as weight_maps
from grok_interp.figures.breaks_study import study_breaks as study_breaks
from grok_interp.figures.comparisons import accuracy_by_width as accuracy_by_width
from grok_interp.figures.comparisons import grokking_time as grokking_time
from grok_interp.figures.comparisons import phase_diagram as phase_diagram
from grok_interp.figures.costs_study import study_costs as study_costs
from grok_interp.figures.diagram_study import study_diagram as study_diagram
from grok_interp.figures.effects import ablation_curves as ablation_curves
from grok_interp.figures.effects import effect_beside_controls as effect_beside_controls
from grok_interp.figures.free_runs import generalisation_times as generalisation_times
from grok_interp.figures.free_runs import norm_dynamics as norm_dynamics
from grok_interp.figures.frequencies import frequency_census as frequency_census
from grok_interp.figures.frequencies import logit_frequencies as logit_frequencies
from grok_interp.figures.generality_study import study_generality as study_generality
from grok_interp.figures.headline_study import study_headline as study_headline
from grok_interp.figures.landscape_maps import data_size_map as data_size_map
from grok_interp.figures.landscape_maps import latent_through_training as latent_through_training
from grok_interp.figures.landscape_maps import mixing_map as mixing_map
from grok_interp.figures.landscapes import latent_on_the_u as latent_on_the_u
from grok_interp.figures.landscapes import lu_curves as lu_curves
from grok_interp.figures.learning import ipr_through_training as ipr_through_training
from grok_interp.figures.learning import learning_curves as learning_curves
from grok_interp.figures.learning import training_summary as training_summary
from grok_interp.figures.lottery_study import study_lottery as study_lottery
from grok_interp.figures.neuron_cards import neuron_card as neuron_card
from grok_interp.figures.onset_study import study_onset as study_onset
from grok_interp.figures.onsets import onset_against_grokking as onset_against_grokking
from grok_interp.figures.pairs import preactivation_images as preactivation_images
from grok_interp.figures.phases import RESIDUAL_BINS as RESIDUAL_BINS
from grok_interp.figures.phases import phase_sum as phase_sum
from grok_interp.figures.phases import residual_histogram as residual_histogram
from grok_interp.figures.style import CHANCE as CHANCE
from grok_interp.figures.style import CONTROL as CONTROL
from grok_interp.figures.style import CONTROL_STYLES as CONTROL_STYLES
from grok_interp.figures.style import COSINE as COSINE
from grok_interp.figures.style import HARD_CONTROL as HARD_CONTROL
from grok_interp.figures.style import IDEAL as IDEAL
from grok_interp.figures.style import READOUT as READOUT
from grok_interp.figures.style import TEST as TEST
from grok_interp.figures.style import TRAIN as TRAIN
from grok_interp.figures.style import WEIGHT as WEIGHT
from grok_interp.figures.waves import neuron_waves as neuron_waves
from grok_interp.figures.waves_study import study_waves as study_waves
