"""How many of what: conserved counts, charge balance, random configurations and all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from math import comb

import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice import Lattice
from leopold_model.patterns.supercell import Supercell


@dataclass(frozen=True)
class Composition:
    """`counts` of each species (names; those left out are 0), balanced: localised carriers compensate the charge of all
    other defects, or `delocalised` elementary charges do that are spread over the host (a run without polarons)."""

    lattice: Lattice
    counts: Mapping[str, int]
    delocalised: int = 0

    def __post_init__(self):
        species = self.lattice.species
        for name, count in self.counts.items():
            self.lattice.code(name)
            if count < 0:
                raise PatternError(f"counts.{name} = {count}: give 0 or more")
        charge = sum(s.charge * self.counts.get(s.name, 0) for s in species)
        carriers = [s for s in species if s.kind == "carrier"]
        sign = np.sign(carriers[0].charge) if carriers else -1
        if charge + sign * self.delocalised:
            fixed = charge - sum(s.charge * self.counts.get(s.name, 0) for s in carriers)
            wanted = abs(fixed) if not carriers else abs(fixed // carriers[0].charge)
            kind = carriers[0].name if carriers else "delocalised"
            raise PatternError(
                f"counts {dict(self.counts)} leave a charge of {charge + sign * self.delocalised:+d} e: "
                f"the defects need {wanted} {kind}, localised or as `delocalised`"
            )

    @property
    def vector(self) -> np.ndarray:
        """(s,) counts in the order of the lattice's species."""
        return np.array([self.counts.get(s.name, 0) for s in self.lattice.species])

    @classmethod
    def of(cls, supercell: Supercell, occupations: np.ndarray) -> Composition:
        """That of a configuration; charge it leaves open is delocalised."""
        species = supercell.lattice.species
        counts = {s.name: int((occupations == k + 1).sum()) for k, s in enumerate(species)}
        open_charge = sum(s.charge * counts[s.name] for s in species)
        return cls(supercell.lattice, counts, delocalised=abs(open_charge))


def random_configuration(supercell: Supercell, composition: Composition, rng: np.random.Generator) -> np.ndarray:
    """(n_sites,) int8, every species placed with equal probability on the sites that may hold it."""
    occupations = np.zeros(supercell.n_sites, dtype=np.int8)
    # the species with the fewest possible sites first, or others might take them all
    order = np.argsort([supercell.lattice.can_hold[:, k + 1].sum() for k in range(len(composition.vector))])
    for k in order:
        free = np.flatnonzero((occupations == 0) & supercell.lattice.can_hold[supercell.basis, k + 1])
        count = composition.vector[k]
        if count > len(free):
            name = supercell.lattice.species[k].name
            raise PatternError(f"counts.{name} = {count}: this supercell has room for {len(free)}; take a larger one")
        occupations[rng.choice(free, count, replace=False)] = k + 1
    return occupations


def n_configurations(supercell: Supercell, composition: Composition) -> int:
    """How many configurations there are when no two species share a sublattice."""
    room = supercell.lattice.can_hold[supercell.basis, 1:].sum(axis=0)
    return int(np.prod([comb(int(n), int(k)) for n, k in zip(room, composition.vector, strict=True)], dtype=object))


def all_configurations(supercell: Supercell, composition: Composition) -> np.ndarray:
    """(n, n_sites) int8: every configuration, for lattices small enough; no two species may share a sublattice."""
    if (supercell.lattice.can_hold[:, 1:].sum(axis=1) > 1).any():
        raise PatternError("enumeration: a sublattice that two species share is not enumerated; sample it instead")
    total = n_configurations(supercell, composition)
    if total > 5_000_000:
        raise PatternError(f"enumeration of {total} configurations: too many; sample them or take a smaller supercell")
    chosen: list[Iterator] = []
    for k, count in enumerate(composition.vector):
        room = np.flatnonzero(supercell.lattice.can_hold[supercell.basis, k + 1])
        chosen.append(combinations(room.tolist(), int(count)))
    found = np.zeros((total, supercell.n_sites), dtype=np.int8)
    sites = [np.array(list(c), dtype=int).reshape(-1, n) for c, n in zip(chosen, composition.vector, strict=True)]
    index = np.array(list(product(*(range(len(s)) for s in sites))))
    for k, s in enumerate(sites):
        np.put_along_axis(found, s[index[:, k]], np.int8(k + 1), axis=1)
    return found
