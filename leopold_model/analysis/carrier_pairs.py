"""How several carriers of a cell arrange themselves relative to each other: time by the distance between two of them.

As around defects, time is that on sites which hops committed to, and is compared with random placement: every pair of
allowed sites of the cell equally likely. Carriers that repel leave the short distances empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from leopold_model.analysis.around_defects import Groups
from leopold_model.analysis.catalogue import Catalogue, ReplicaHops
from leopold_model.analysis.doped_walk import doped_replicas
from leopold_model.analysis.populations import DIGITS
from leopold_model.analysis.sites import SiteMap


def carrier_pairs(catalogue: Catalogue, temperature: float) -> dict | None:
    """JSON-ready: `distance_Angstrom` between the ideal sites of two carriers, nearest image, and what `Groups` says of
    each; its `sites` are pairs of allowed sites. None with one carrier, or where the cells have no defect."""
    replicas = [(r, sites) for r, sites in doped_replicas(catalogue, temperature) if r.n_carriers > 1]
    if not replicas:
        return None
    possible = [_distances(sites) for _, sites in replicas]
    labels = np.unique(np.concatenate([list(distances.values()) for distances in possible]))
    share, count = np.zeros((len(replicas), len(labels))), np.zeros((len(replicas), len(labels)))
    for k, ((replica, _), distances) in enumerate(zip(replicas, possible, strict=True)):
        count[k] = [np.sum(np.array(list(distances.values())) == label) for label in labels]
        for atoms, time in together(replica):
            for pair in combinations(sorted(atoms), 2):
                share[k, np.searchsorted(labels, distances[pair])] += time
    share /= share.sum(axis=1, keepdims=True)
    random = (count / count.sum(axis=1, keepdims=True)).mean(axis=0)
    groups = Groups(labels, count.mean(axis=0), share, random)
    return {"temperature_K": temperature, "distance_Angstrom": labels.tolist(), **groups.to_dict()}


def together(replica: ReplicaHops) -> Iterator[tuple[tuple[int, ...], float]]:
    """The atoms of all carriers between two hops of any of them, and for how long (fs). While one takes the place of
    another, both crossings may be some fs out of order: what seems to be two on one atom is left out."""
    table = replica.table
    atoms, since = list(table.first_sites), 0.0
    for hop in (*table.hops, None):
        until = table.duration if hop is None else hop.time
        if len(set(atoms)) == len(atoms):
            yield tuple(atoms), until - since
        if hop is not None:
            atoms[hop.carrier], since = hop.j, hop.time


def _distances(sites: SiteMap) -> dict[tuple[int, int], float]:
    return {
        (i, j): round(sites.distance(i, j), DIGITS) for i, j in combinations(sorted(sites.carrier_atoms.tolist()), 2)
    }
