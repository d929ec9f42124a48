"""A pair cluster expansion on the same labels: the linear model any learned energy has to beat.

E = sum_t e_t n_t + sum_o J_o n_o over the types t of defects and the symmetry classes o of pairs of them within the
cutoff; ridge regression, its strength chosen on the validation labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leopold_model.patterns.descriptor import Descriptor, DescriptorConfig
from leopold_model.patterns.evaluation import errors
from leopold_model.patterns.labels import LabelSet
from leopold_model.patterns.supercell import Supercell

RIDGE = np.logspace(-8, 0, 9)  # of the largest singular value, squared


@dataclass(frozen=True)
class PairExpansion:
    """Fitted coefficients (c,) in eV of the columns of `correlations`."""

    descriptor: Descriptor
    coefficients: np.ndarray

    def predict(self, supercell: Supercell, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,) in eV; the spread is 0."""
        found = correlations(self.descriptor, supercell, occupations) @ self.coefficients
        return found, np.zeros_like(found)


def correlations(descriptor: Descriptor, supercell: Supercell, occupations: np.ndarray) -> np.ndarray:
    """(n, c) number of defects of each type, and of pairs of each class seen from each of their ends."""
    columns = []
    for which, values in descriptor.features(supercell, occupations):
        table = np.zeros((len(occupations), values.shape[2]))
        np.add.at(table, which, values[:, 0])
        columns += [np.bincount(which, minlength=len(occupations))[:, None], table]
    return np.hstack(columns)


def fit_pairs(training: LabelSet, validation: LabelSet, cutoff: float) -> PairExpansion:
    """The expansion with pairs up to `cutoff` (Angstrom) that does best on the validation labels."""
    descriptor = Descriptor(training.instance.lattice, DescriptorConfig(kind="shell", cutoff=cutoff))
    x = np.concatenate([correlations(descriptor, g.supercell, g.occupations) for g in training.groups])
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ training.energies
    fits = [
        PairExpansion(descriptor, vt.T @ (s / (s**2 + ridge * s[0] ** 2) * projected)) for ridge in (RIDGE**2).tolist()
    ]
    return min(fits, key=lambda model: errors(model, validation)["rmse"])
