"""The random walk of a carrier in a supercell with defects, whose sites differ by their shell.

Hops are counted by class, which near defects holds the shells of both ends. In equilibrium there are as many of a class
in one direction as in the other, so the rate from a shell is half of all (all, within a shell) over the time spent in
it: detailed balance is exact and no site is a sink because one hop was seen in one direction only. Every directed hop
of the supercell has such a rate; traps, and the ways around them, are then in the diffusion tensor. That sites of one
shell are alike, and those beyond the shells too, is the approximation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leopold_model.analysis.catalogue import Catalogue, ReplicaHops
from leopold_model.analysis.defects import defect_shells, has_defects, with_shells
from leopold_model.analysis.pathways import PathwaySet
from leopold_model.analysis.sites import SiteMap


@dataclass(frozen=True)
class Stay:
    """A carrier on `atom` for `time` fs."""

    atom: int
    time: float


def stays(replica: ReplicaHops) -> Iterator[Stay]:
    """Where every carrier of a replica was between its hops."""
    table = replica.table
    for carrier, atom in enumerate(table.first_sites):
        since = 0.0
        for hop in (hop for hop in table.hops if hop.carrier == carrier):
            yield Stay(atom, hop.time - since)
            atom, since = hop.j, hop.time
        yield Stay(atom, table.duration - since)


def shell_times(catalogue: Catalogue, temperature: float) -> dict[int, float]:
    """Carrier time (fs) in every shell."""
    spent: defaultdict[int, float] = defaultdict(float)
    for r, sites in doped_replicas(catalogue, temperature):
        shells = defect_shells(sites)
        for stay in stays(r):
            spent[int(shells[stay.atom])] += stay.time
    return dict(spent)


def supercell_network(
    classes: PathwaySet, sites: SiteMap, names: Sequence[str], times: Mapping[int, float]
) -> tuple[np.ndarray, ...]:
    """Every directed hop of the supercell of a class in `names`: the number of the class (h,), start and end site (h,),
    vector (h, 3) in Angstrom, and share (h,): its rate over the rate of the class among all carriers.

    `times` (fs) are those of `shell_times`. A shell in which no time was spent has no rate.
    """
    shells, at = defect_shells(sites), _atoms_by_site(sites)
    allowed = sites.carrier_atoms.tolist()
    index, number = {atom: k for k, atom in enumerate(allowed)}, {name: k for k, name in enumerate(names)}
    starting: dict[int, list] = {}
    for pathway in classes:
        for key in pathway.members:
            starting.setdefault(key[0], []).append((pathway.name, key))
    rows, kinds = [], []
    for i in allowed:
        for name, key in starting.get(int(sites.sublattice[i]), ()):
            j = _end(sites, at, i, key)
            if j in index and (full := with_shells(name, int(shells[i]), int(shells[j]))) in number:
                step = sites.host.basis[key[1]] - sites.host.basis[key[0]] + np.array(key[2:])
                rows.append((number[full], index[i], index[j], *(step @ sites.lattice)))
                kinds.append((number[full], int(shells[i]), int(shells[j])))
    table, total = np.array(rows).reshape(-1, 6), sum(times.values())
    in_shell, members = Counter(shells[allowed].tolist()), Counter((n, a) for n, a, _ in kinds)
    share = [
        (1.0 if a == b else 0.5) * total / times[a] * in_shell[a] / members[n, a] if times.get(a) else 0.0
        for n, a, b in kinds
    ]
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2].astype(int), table[:, 3:], np.array(share)


def doped_replicas(catalogue: Catalogue, temperature: float) -> list[tuple[ReplicaHops, SiteMap]]:
    """Those at this temperature whose cell has defects, and the sites of each."""
    return [
        (r, r.sites)
        for r in catalogue.replicas
        if r.temperature == temperature and r.sites is not None and has_defects(r.sites)
    ]


def _atoms_by_site(sites: SiteMap) -> dict[tuple[int, ...], int]:
    folded = _folded(sites, sites.cell)
    return {(int(s), *map(int, c)): k for k, (s, c) in enumerate(zip(sites.sublattice, folded, strict=True))}


def _folded(sites: SiteMap, cells: np.ndarray) -> np.ndarray:
    return cells - np.floor(cells @ np.linalg.inv(sites.matrix) + 1e-6).astype(int) @ sites.matrix


def _end(sites: SiteMap, at: dict, atom: int, key) -> int | None:
    """The atom a hop `key` from `atom` leads to; None where there is a vacancy."""
    return at.get((key[1], *map(int, _folded(sites, sites.cell[atom] + np.array(key[2:])))))
