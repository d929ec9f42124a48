"""Which configurations to label next: low in energy, unsure, and new.

Short anneals from random starts end in the minima that the model believes in. Those not labelled yet are ranked by
predicted energy less `boldness` times the disagreement of the ensemble, per symmetry orbit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from leopold_model.patterns.annealing import AnnealConfig, start
from leopold_model.patterns.composition import Composition
from leopold_model.patterns.sampling import Sampler


@dataclass(frozen=True)
class Suggestions:
    """Configurations (n, n_sites) to label, best first; predicted `energies` and `spreads` (n,) in eV, their `keys`."""

    occupations: np.ndarray
    energies: np.ndarray
    spreads: np.ndarray
    keys: list[str]


def suggest(
    sampler: Sampler,
    composition: Composition,
    config: AnnealConfig,
    *,
    n: int,
    known: Collection[str] = (),
    boldness: float = 1.0,
) -> Suggestions:
    """Up to `n` configurations whose canonical key is not in `known`: candidates are where the chains of `config` are
    at the end of every block, and the lowest each one saw."""
    run, supercell = start(sampler, composition, config), sampler.supercell
    candidates: dict[str, np.ndarray] = {}
    for _ in range(config.blocks):
        run.block(1)
        for occupations in (*run.last, *run.lowest):
            candidates.setdefault(supercell.key(occupations), occupations)
    keys = [key for key in candidates if key not in known]
    if not keys:
        none = np.zeros(0)
        return Suggestions(np.zeros((0, supercell.n_sites), dtype=np.int8), none, none, [])
    occupations = np.array([candidates[key] for key in keys])
    energies, spreads = sampler.model.predict(supercell, occupations)
    best = np.argsort(energies - boldness * spreads, kind="stable")[:n]
    return Suggestions(occupations[best], energies[best], spreads[best], [keys[k] for k in best])
