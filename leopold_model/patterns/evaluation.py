"""How good an energy model of configurations is: over all labels, and where it counts, at the lowest energies.

Errors are per defect, in meV. An overall error says little about the states that annealing ends in, which are rare and
unlike random ones; hence the window of the lowest labels, and the rank correlation.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.stats import spearmanr

from leopold_model.patterns.labels import LabelSet
from leopold_model.patterns.supercell import Supercell

WINDOW = 0.1  # the lowest tenth of the labels, by energy per defect


class EnergyModel(Protocol):
    """Anything that predicts the energy of configurations."""

    def predict(self, supercell: Supercell, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and spread (n,) in eV for occupations (n, n_sites)."""
        ...


def predictions(model: EnergyModel, labels: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (n,) in eV, in the order of the labels."""
    found = [model.predict(g.supercell, g.occupations) for g in labels.groups]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def errors(model: EnergyModel, labels: LabelSet, window: float = WINDOW) -> dict[str, float]:
    """Mean absolute and root mean square error per defect over all labels and, `window`, over the lowest of them by
    energy; Spearman's rank correlation; mean spread of an ensemble. meV per defect."""
    mean, spread = predictions(model, labels)
    per_defect = 1e3 / labels.n_defects
    error = (mean - labels.energies) * per_defect
    order = np.argsort(labels.energies / labels.n_defects)
    lowest = order[: max(1, round(window * len(order)))]
    rank = spearmanr(mean / labels.n_defects, labels.energies / labels.n_defects).statistic if len(labels) > 2 else 1.0
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "window_mae": float(np.abs(error[lowest]).mean()),
        "rank_correlation": float(rank),
        "spread": float((spread * per_defect).mean()),
        "labels": len(labels),
    }
