"""Symmetry-inequivalent hop pathways of the primitive host.

A hop is (s_i, s_j, R): from sublattice s_i in cell 0 to s_j in cell R. Its class is its orbit under the host's
(magnetic) group together with reversal. The group is that of the PRIMITIVE host with its moments, never that of the
simulated supercell, whose shape would split classes, nor of a structure that holds a carrier.

A class is named after the distance, the direction in conventional axes and the number of such hops from one site,
like `O-O 2.96 A <110> x12` or `Ti-Ti 2.96 A [001] x2`; classes whose names would agree get a trailing letter. Near
defects the shells of both ends are part of it (see `defects.with_shells`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import gcd

import numpy as np
from ase.data import chemical_symbols

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.defects import SHELLS, defect_shells, has_defects, with_shells
from leopold_model.analysis.hops import Hop
from leopold_model.analysis.sites import TIE, Host, SiteMap

Key = tuple[int, ...]  # s_i, s_j, R: five integers


@dataclass(frozen=True)
class Pathway:
    """One class: `distance` in Angstrom, `multiplicity` hops from each of its sites, `representative` (s_i, s_j, R)
    the smallest member, `members` every directed hop of the class that starts in cell 0, `vectors` (len(members), 3)
    in Angstrom. `ends` are the symmetry-inequivalent kinds of its two end sites (indices into
    `PathwaySet.site_kinds`)."""

    name: str
    distance: float
    direction: str
    multiplicity: int
    representative: Key
    members: tuple[Key, ...]
    vectors: np.ndarray
    ends: tuple[int, int]

    @property
    def tensor(self) -> np.ndarray:
        """(3, 3) mean of d d^T over the class, Angstrom^2."""
        return np.einsum("na,nb->ab", self.vectors, self.vectors) / len(self.vectors)


@dataclass(frozen=True)
class PathwaySet:
    """All classes of `host` up to `cutoff` (Angstrom), by distance; `site_kinds`: carrier sublattice -> kind of
    site."""

    host: Host
    cutoff: float
    pathways: tuple[Pathway, ...]
    site_kinds: dict[int, int]

    def __len__(self) -> int:
        return len(self.pathways)

    def __iter__(self):
        return iter(self.pathways)

    @cached_property
    def by_key(self) -> dict[Key, Pathway]:
        """Directed hop -> class."""
        return {key: pathway for pathway in self.pathways for key in pathway.members}

    @cached_property
    def by_name(self) -> dict[str, Pathway]:
        """Name -> class."""
        return {pathway.name: pathway for pathway in self.pathways}

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by distance."""
        return tuple(pathway.name for pathway in self.pathways)


def enumerate_pathways(host: Host, cutoff: float = 7.0) -> PathwaySet:
    """Every class of hops between carrier sites of `host` not longer than `cutoff` (Angstrom)."""
    operations = _operations(host)
    open_keys = _keys_within(host, cutoff)
    kinds = _site_kinds(host, operations)
    orbits = []
    while open_keys:
        key = min(open_keys)
        orbit = _orbit(key, operations)
        if not orbit <= open_keys:
            raise AnalysisError(
                f"the host's symmetry does not map its sites onto themselves (hop {key}); check symprec"
            )
        open_keys -= orbit
        orbits.append(tuple(sorted(orbit)))
    pathways = [_pathway(host, kinds, orbit) for orbit in orbits]
    pathways.sort(key=lambda p: (round(p.distance, 3), p.name, p.representative))
    return PathwaySet(host, cutoff, tuple(_distinct(pathways)), kinds)


def classify(hops: Iterable[Hop], site_map: SiteMap, pathways: PathwaySet, seed: int = 0) -> tuple[Hop, ...]:
    """The hops of one trajectory, in time order, with class, lattice key and vector set.

    A hop that crossed the cores of sites on its way, every leg shorter than the whole, is a relay of its legs and no
    pathway of its own. A hop beyond the cutoff of `pathways` raises: enumerate further (`longest`). Of equally short
    images one is drawn with `seed`, so that a walk is not folded into a standing one; a back-hop returns the way it
    came. In a cell with defects the shells of both ends are part of a class, so that a hop near a dopant is no new one
    for ever.
    """
    rng = np.random.default_rng(seed)
    shells = defect_shells(site_map) if has_defects(site_map) else None
    last: dict[int, Hop] = {}
    classified = []
    for hop in hops:
        last[hop.carrier] = hop = _classified(hop, site_map, pathways, shells, rng, last.get(hop.carrier))
        classified.append(hop)
    return tuple(classified)


def length(host: Host, key: Key) -> float:
    """Length of a directed hop in the host, Angstrom."""
    a, b, *r = key
    return float(np.linalg.norm((host.basis[b] - host.basis[a] + np.array(r)) @ host.lattice))


def longest(hops: Iterable[Hop], site_map: SiteMap) -> float:
    """Length in the unstrained host of the longest hop (Angstrom), whatever the image; 0 without hops."""
    keys = {
        (int(site_map.sublattice[hop.i]), int(site_map.sublattice[hop.j]), *map(int, r))
        for hop in hops
        for r in site_map.shortest(hop.i, hop.j)
    }
    return max((length(site_map.host, key) for key in keys), default=0.0)


def resolvable(pathway: Pathway, site_map: SiteMap) -> float:
    """Fraction of the class's hops a supercell can show: those that are the shortest image between their two atoms.
    Longer ones fold onto others: in a cell of edge L a hop of length > L/2 along it looks like one of L - d the other
    way."""
    lattice, basis = site_map.lattice, site_map.host.basis
    seen = 0
    for s_i, s_j, *r in pathway.members:
        vectors = (basis[s_j] - basis[s_i] + np.array(r) + site_map._images) @ lattice
        lengths = np.linalg.norm(vectors, axis=1)
        own = np.linalg.norm((basis[s_j] - basis[s_i] + np.array(r)) @ lattice)
        back_to_start = s_i == s_j and lengths.min() < TIE
        seen += bool(not back_to_start and own < lengths.min() + TIE)
    return seen / len(pathway.members)


# ------------------------------------------------------------------------------------------------- group machinery


def _operations(host: Host) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(W, image (n,), shift (n, 3)) per operation: basis atom a goes to atom image[a] in the cell shift[a]."""
    operations = []
    for rotation, translation in zip(host.symmetry["rotations"], host.symmetry["translations"], strict=True):
        moved = host.basis @ rotation.T + translation
        offset = moved[:, None] - host.basis[None]
        shift = np.rint(offset).astype(int)
        distance = np.linalg.norm((offset - shift) @ host.lattice, axis=-1)
        image = np.argmin(np.where(host.numbers[:, None] == host.numbers[None], distance, np.inf), axis=1)
        operations.append((rotation, image, shift[np.arange(len(image)), image]))
    return operations


def _orbit(key: Key, operations) -> set[Key]:
    s_i, s_j, *r = key
    orbit: set[Key] = set()
    for rotation, image, shift in operations:
        to = rotation @ np.array(r) + shift[s_j] - shift[s_i]
        a, b = int(image[s_i]), int(image[s_j])
        orbit.add((a, b, *map(int, to)))
        orbit.add((b, a, *map(int, -to)))
    return orbit


def _site_kinds(host: Host, operations) -> dict[int, int]:
    orbits = sorted({tuple(sorted({int(image[s]) for _, image, _ in operations})) for s in host.sites})
    return {s: kind for kind, orbit in enumerate(orbits) for s in orbit}


def _keys_within(host: Host, cutoff: float) -> set[Key]:
    heights = 1 / np.linalg.norm(np.linalg.inv(host.lattice), axis=0)
    reach = np.ceil(cutoff / heights).astype(int) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    keys: set[Key] = set()
    for s_i in host.sites:
        for s_j in host.sites:
            lengths = np.linalg.norm((host.basis[s_j] - host.basis[s_i] + grid) @ host.lattice, axis=1)
            for r in grid[(lengths > TIE) & (lengths <= cutoff + TIE)]:
                keys.add((int(s_i), int(s_j), *map(int, r)))
    return keys


# ------------------------------------------------------------------------------------------------- naming


def _pathway(host: Host, kinds: dict[int, int], orbit: tuple[Key, ...]) -> Pathway:
    fractional = np.array([host.basis[b] - host.basis[a] + np.array(r) for a, b, *r in orbit])
    vectors = fractional @ host.lattice
    distance = float(np.linalg.norm(vectors[0]))
    s_i, s_j = orbit[0][:2]
    multiplicity = sum(key[0] == s_i for key in orbit)
    direction = _direction(fractional @ host.conventional.T)
    label = {s: host.species + (str(kinds[s] + 1) if len(set(kinds.values())) > 1 else "") for s in (s_i, s_j)}
    first, second = sorted((s_i, s_j), key=lambda s: kinds[s])
    name = f"{label[first]}-{label[second]} {distance:.2f} A {direction} x{multiplicity}"
    ends = (kinds[first], kinds[second])
    return Pathway(name, distance, direction, multiplicity, orbit[0], orbit, vectors, ends)


def _direction(vectors: np.ndarray) -> str:
    """Indices of the class's direction: [uvw] for a single axis, <uvw> for a family, by its member with the fewest
    negative, then the largest indices."""
    directions = {_integers(v) for v in vectors}
    best = min(directions, key=lambda d: (sum(x < 0 for x in d), tuple(-x for x in d)))
    digits = [str(x) for x in best]
    text = ("" if all(len(d.lstrip("-")) == 1 for d in digits) else " ").join(digits)
    return f"[{text}]" if len(directions) <= 2 else f"<{text}>"


def _integers(vector: np.ndarray) -> tuple:
    """Smallest integers along the vector; two decimals of the normalised vector where none below 12 fit."""
    scaled = vector / np.abs(vector).max()
    for factor in range(1, 13):
        rounded = np.rint(scaled * factor)
        if np.abs(scaled * factor - rounded).max() < 0.02:
            integers = [int(x) for x in rounded]
            common = gcd(*integers)
            return tuple(x // common for x in integers)
    return tuple(float(x) for x in np.round(scaled, 2) + 0.0)


def _distinct(pathways: list[Pathway]) -> list[Pathway]:
    names = [p.name for p in pathways]
    letters = {name: iter("abcdefghijklmnopqrstuvwxyz") for name in names if names.count(name) > 1}
    return [replace(p, name=f"{p.name} {next(letters[p.name])}") if p.name in letters else p for p in pathways]


def _classified(hop: Hop, site_map: SiteMap, pathways: PathwaySet, shells, rng, previous: Hop | None) -> Hop:
    path = _path(hop, site_map)
    choices = [_keys(a, b, site_map, pathways) for a, b in pairwise(path)]
    if previous is not None and hop.back and len(choices) == len(previous.legs):  # it returns the way it came
        legs = [(b, a, *(-x for x in r)) for a, b, *r in reversed(previous.legs)]
        if any(leg not in keys for leg, keys in zip(legs, choices, strict=True)):
            legs = [keys[rng.integers(len(keys))] for keys in choices]
    else:
        legs = [keys[rng.integers(len(keys))] for keys in choices]
    basis = site_map.host.basis
    vector = sum((basis[b] - basis[a] + np.array(r)) @ site_map.lattice for a, b, *r in legs)
    names = [pathways.by_key[leg].name for leg in legs]
    if shells is not None:
        names = [with_shells(name, shells[a], shells[b]) for name, (a, b) in zip(names, pairwise(path), strict=True)]
    return replace(
        hop,
        pathway=" + ".join(names),
        legs=tuple(legs),
        vector=tuple(float(x) for x in vector),
        ambiguous=any(len(keys) > 1 for keys in choices),
    )


def near_defects(site_map: SiteMap, pathways: PathwaySet) -> dict[str, tuple[str, ...]]:
    """Class -> its names near defects, of all hops that the supercell has between its carrier sites."""
    names: dict[str, set[str]] = {}
    if has_defects(site_map):
        shells = defect_shells(site_map)
        near = [i for i in site_map.carrier_atoms if shells[i] <= SHELLS]
        for i, j in ((i, j) for i in near for j in site_map.carrier_atoms if i != j):
            for r in site_map.shortest(i, j):
                key = (int(site_map.sublattice[i]), int(site_map.sublattice[j]), *map(int, r))
                if key in pathways.by_key:
                    name = pathways.by_key[key].name
                    names.setdefault(name, set()).add(with_shells(name, shells[i], shells[j]))
    return {name: tuple(sorted(found)) for name, found in names.items()}


def _path(hop: Hop, site_map: SiteMap) -> list[int]:
    """Sites of the hop: its ends, and between them those passed on the way if every leg is shorter than the whole. A
    site off the way that led for a moment is no station of the hop."""
    whole = site_map.distance(hop.i, hop.j) - TIE
    on_the_way = [k for k in hop.via if site_map.distance(hop.i, k) < whole and site_map.distance(k, hop.j) < whole]
    path = [hop.i, *on_the_way, hop.j]
    return path if all(site_map.distance(a, b) < whole for a, b in pairwise(path)) else [hop.i, hop.j]


def _keys(i: int, j: int, site_map: SiteMap, pathways: PathwaySet) -> list[Key]:
    """The equally short hops from atom i to atom j."""
    a, b = int(site_map.sublattice[i]), int(site_map.sublattice[j])
    if not {a, b} <= set(pathways.site_kinds):
        atom = i if a not in pathways.site_kinds else j
        element = chemical_symbols[site_map.host.numbers[site_map.sublattice[atom]]]
        raise AnalysisError(
            f"the carrier was on atom {atom} ({element}), which is no {site_map.host.species} site: "
            "name the right carrier species"
        )
    keys: list[Key] = sorted((a, b, *map(int, r)) for r in site_map.shortest(i, j))
    if any(key not in pathways.by_key for key in keys):
        raise AnalysisError(
            f"hop {i} -> {j} of {site_map.distance(i, j):.2f} A is longer than the cutoff {pathways.cutoff} A: "
            "enumerate pathways up to it"
        )
    return keys
