"""Which configurations to label next: low in energy, unsure, and new.

Short anneals from random starts (`annealing.anneal` with `keep_passed`) end in the minima that the model believes in.
Those not labelled yet are ranked by predicted energy less `boldness` times the disagreement of the ensemble, per
symmetry orbit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from leopold_model.patterns.annealing import Annealing


@dataclass(frozen=True)
class Suggestions:
    """Configurations (n, n_sites) to label, best first; predicted `energies` and `spreads` (n,) in eV, their `keys`."""

    occupations: np.ndarray
    energies: np.ndarray
    spreads: np.ndarray
    keys: list[str]


def suggest(run: Annealing, *, n: int, known: Collection[str] = (), boldness: float = 1.0) -> Suggestions:
    """Up to `n` configurations whose canonical key is not in `known`: candidates are where the chains of `run` were at
    the end of every block, and the lowest each one had seen by then."""
    sampler, supercell = run.sampler, run.sampler.supercell
    candidates: dict[str, np.ndarray] = {}
    for occupations in np.unique(np.concatenate(run.passed), axis=0):
        candidates.setdefault(supercell.key(occupations), occupations)
    keys = [key for key in candidates if key not in known]
    if not keys:
        none = np.zeros(0)
        return Suggestions(np.zeros((0, supercell.n_sites), dtype=np.int8), none, none, [])
    occupations = np.array([candidates[key] for key in keys])
    energies, spreads = sampler.model.predict(supercell, occupations)
    best = np.argsort(energies - boldness * spreads, kind="stable")[:n]
    return Suggestions(occupations[best], energies[best], spreads[best], [keys[k] for k in best])
