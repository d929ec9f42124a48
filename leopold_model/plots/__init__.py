"""Figures of a study. Each function takes plain data and a path, and writes the figure as PNG and PDF with its
numbers beside it as CSV (same name, three suffixes). Colours are those of Okabe and Ito (2008), told apart by
colour-blind readers.
"""

from leopold_model.plots.barrier import hop_barrier
from leopold_model.plots.learning import moment_parity, pathway_bars, round_errors
from leopold_model.plots.patterns import (
    concentration_sweep,
    confirmed_energies,
    correlation_functions,
    measured_overlay,
    pattern_map,
    residence_consistency,
)
from leopold_model.plots.sites import around_defects, defect_correlation, layer_populations
from leopold_model.plots.strip import HopPictures, hop_animation, hop_strip, pictures
from leopold_model.plots.transport import (
    diffusion_plateau,
    direction_shares,
    hop_rates,
    hops_by_stay,
    mobility,
    polar_mobility,
)

__all__ = [
    "HopPictures", "around_defects", "concentration_sweep", "confirmed_energies", "correlation_functions",
    "defect_correlation", "diffusion_plateau", "direction_shares", "hop_animation", "hop_barrier", "hop_rates",
    "hop_strip", "hops_by_stay", "layer_populations", "measured_overlay", "mobility", "moment_parity", "pathway_bars",
    "pattern_map", "pictures", "polar_mobility", "residence_consistency",
    "round_errors",
]  # fmt: skip
