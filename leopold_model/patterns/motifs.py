"""What a configuration is made of: pairs of defects by kind and distance, against what chance would give.

A motif is a kind of pair (`VO-polaron@S1A`) at one distance. Its count per configuration is compared with that of
defects placed at random with the same numbers, so that an enrichment above 1 says that energy favours it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from leopold_model.patterns.supercell import Supercell

SAME = 0.02  # Angstrom: distances closer than this are one


@dataclass(frozen=True)
class Motif:
    """A kind of `pair` at `distance` (Angstrom): its `count` per configuration, what `random` placement would give, and
    the ratio of the two, `enrichment` (None where chance gives none: one defect has no pair)."""

    pair: str
    distance: float
    count: float
    random: float
    enrichment: float | None

    def to_dict(self) -> dict:
        """JSON-ready."""
        return asdict(self)


def motifs(supercell: Supercell, occupations: np.ndarray, *, cutoff: float = 7.0) -> list[Motif]:
    """Motifs of configurations (n, n_sites) up to `cutoff` Angstrom, by pair and distance; distances at which none of
    them has the pair have count 0, kinds of defects that none of them has are left out."""
    occupations = np.atleast_2d(occupations)
    kinds = _kinds(supercell, occupations)
    near, distance = _pairs(supercell, cutoff)
    found = []
    names = [name for name in sorted(kinds) if kinds[name].any()]
    for k, first in enumerate(names):
        for second in names[k:]:
            found += _of_pair(supercell, kinds, first, second, near, distance)
    return sorted(found, key=lambda m: (m.pair, m.distance))


def _kinds(supercell: Supercell, occupations: np.ndarray) -> dict[str, np.ndarray]:
    """By kind, such as `polaron@S1A`, where it sits (n, n_sites); a species of one label goes by its name alone."""
    lattice, found = supercell.lattice, {}
    for code, species in enumerate(lattice.species, start=1):
        labels = [label for label, names in lattice.allowed.items() if species.name in names]
        for label in labels:
            name = species.name if len(labels) == 1 else f"{species.name}@{label}"
            found[name] = (occupations == code) & (supercell.labels == label)
    return found


def _pairs(supercell: Supercell, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """(p, 2) ordered pairs of sites, one for every image within `cutoff`, and their distances (p,)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(supercell.vectors), axis=0)
    steps = [
        range(-int(cutoff / h) - 1, int(cutoff / h) + 2) if p else (0,)
        for h, p in zip(heights, supercell.lattice.pbc, strict=True)
    ]
    offset = supercell.positions[None] - supercell.positions[:, None]
    pairs, lengths = [], []
    for shift in product(*steps):
        r = np.linalg.norm(offset + np.array(shift) @ supercell.vectors, axis=2)
        inside = (r > SAME) & (r < cutoff)
        pairs.append(np.argwhere(inside))
        lengths.append(r[inside])
    return np.concatenate(pairs), np.concatenate(lengths)


def _of_pair(supercell, kinds, first: str, second: str, near, distance) -> list[Motif]:
    a, b = kinds[first], kinds[second]
    same = first == second
    there = (a[:, near[:, 0]] & b[:, near[:, 1]]).sum(axis=0) / len(a) / (2 if same else 1)
    # by chance, each kind keeps to the sites of its label; two of one kind cannot share a site
    room = [_room(supercell, name) for name in (first, second)]
    n, m = a.sum(axis=1).mean(), b.sum(axis=1).mean()
    sites = [int(r.sum()) for r in room]
    chance = n * (n - 1) / (sites[0] * (sites[0] - 1)) / 2 if same else n * m / (sites[0] * sites[1])
    possible = room[0][near[:, 0]] & room[1][near[:, 1]]
    order = np.argsort(distance[possible])
    lengths, counts = distance[possible][order], there[possible][order]
    shells = np.split(np.arange(len(order)), np.flatnonzero(np.diff(lengths) > SAME) + 1) if len(order) else []
    found = []
    for shell in shells:
        random, count = float(chance * len(shell)), float(counts[shell].sum())
        ratio = count / random if random else None
        found.append(Motif(f"{first}-{second}", round(float(lengths[shell].mean()), 3), count, random, ratio))
    return found


def _room(supercell: Supercell, kind: str) -> np.ndarray:
    """(n_sites,) the sites a kind may take."""
    name, _, label = kind.partition("@")
    code = supercell.lattice.code(name)
    holds = supercell.lattice.can_hold[supercell.basis, code]
    return holds & (supercell.labels == label) if label else holds
