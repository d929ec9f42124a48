"""The same energy as a table of pairs: what a move changes, and nothing else.

Descriptor and first layer are both linear, so that the input of the hidden layer of defect i is

    h_i = b + sum_j T[i's site and species, j's slot as seen from i, j's species],

a vector for every symmetry image (and member of an ensemble), all of them side by side. When a defect goes, what it
gave to its neighbours is subtracted; when it comes, it is added; only their outputs change.

Tables depend on the lattice, not on the supercell; `neighbours` places them in one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from leopold_model.patterns.network import HIDDEN, SLOPE, PatternModel
from leopold_model.patterns.supercell import Supercell

NEGLIGIBLE = 1e-7  # of the largest entry: pairs below are left out


class Tables(NamedTuple):
    """Arrays of the incremental form. A *kind* q is a species on a parent site; K slots, A species a site can hold, R
    rows (members times images) of H hidden units.

    `kind` (b, s + 1): q or -1; `rank` (b, s + 1): number of a species among those its site can hold;
    `type` (q,): whose network; `rows` (q,), `images` (q,): R and images of a kind;
    `slot_basis` (b, K), `slot_cell` (b, K, 3), `n_slots` (b,): neighbours of each parent site;
    `bias` (q, R*H): h of a defect without any; `sees` (q, K, A, R*H): what one in a slot adds to the centre's h;
    `gives` (q, K, A, R*H): what the centre adds to the h of one in a slot;
    `w2` (t, m, O, H), `b2` (t, m, O), `w3` (t, m, O), `b3` (t, m): the layers after h.
    """

    kind: np.ndarray
    rank: np.ndarray
    type: np.ndarray
    rows: np.ndarray
    images: np.ndarray
    slot_basis: np.ndarray
    slot_cell: np.ndarray
    n_slots: np.ndarray
    bias: np.ndarray
    sees: np.ndarray
    gives: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray


def make_tables(model: PatternModel, dtype=np.float32) -> Tables:
    """Collapse descriptor and first layers of a model; float32 is what moves are computed in."""
    lattice, descriptor = model.instance.lattice, model.descriptor
    n_basis, n_codes = lattice.can_hold.shape
    kinds = [(b, s) for b in range(n_basis) for s in range(1, n_codes) if lattice.can_hold[b, s]]
    kind, rank = np.full((n_basis, n_codes), -1), np.full((n_basis, n_codes), -1)
    for q, (b, s) in enumerate(kinds):
        kind[b, s], rank[b, s] = q, lattice.can_hold[b, 1:s].sum()
    pairs = [_pairs(model, b, s) for b, s in kinds]
    slots = _slots(kinds, pairs, n_basis)
    rows = np.array([model.n_members * sum(1 for _ in descriptor.images(b)) for b, _ in kinds])
    width, depth = int(rows.max()) * HIDDEN[0], max(len(s) for s in slots)
    n_rank = int(rank.max()) + 1
    sees = np.zeros((len(kinds), depth, n_rank, width))
    gives = np.zeros_like(sees)
    types = np.array([descriptor.types.index((int(lattice.orbits[b]), s)) for b, s in kinds])
    bias = np.zeros((len(kinds), width))
    for q, (b, s) in enumerate(kinds):
        repeats = rows[q] // model.n_members
        bias[q, : rows[q] * HIDDEN[0]] = np.repeat(model.layers[types[q]][0][1], repeats, axis=0).ravel()
        for k, (c, *n) in enumerate(slots[b]):
            for other in range(1, n_codes):
                if not lattice.can_hold[c, other]:
                    continue
                seen = pairs[q].get((c, *n, other))
                if seen is not None:
                    sees[q, k, rank[c, other], : len(seen)] = seen
                given = pairs[kind[c, other]].get((b, *(-x for x in n), s))
                if given is not None:
                    gives[q, k, rank[c, other], : len(given)] = given
    layers = model.layers
    return Tables(
        kind=kind,
        rank=rank,
        type=types,
        rows=rows,
        images=rows // model.n_members,
        slot_basis=np.array([[c for c, *_ in s] + [0] * (depth - len(s)) for s in slots]),
        slot_cell=np.array([[n for _, *n in s] + [[0, 0, 0]] * (depth - len(s)) for s in slots]),
        n_slots=np.array([len(s) for s in slots]),
        bias=bias.astype(dtype),
        sees=sees.astype(dtype),
        gives=gives.astype(dtype),
        w2=np.array([np.swapaxes(of[1][0], 1, 2) for of in layers]).astype(dtype),
        b2=np.array([of[1][1] for of in layers]).astype(dtype),
        w3=np.array([of[2][0][:, :, 0] for of in layers]).astype(dtype),
        b3=np.array([of[2][1][:, 0] for of in layers]).astype(dtype),
    )


def _pairs(model: PatternModel, b: int, s: int) -> dict[tuple, np.ndarray]:
    """(other site, cell offset, species) -> (R*H) contribution to h of a defect s on site b."""
    lattice = model.instance.lattice
    layers = model.layers[model.descriptor.types.index((int(lattice.orbits[b]), s))]
    w, n_hidden = layers[0][0], HIDDEN[0]
    images = list(model.descriptor.images(b))
    found: dict[tuple, np.ndarray] = {}
    for g, (basis, cells, weights) in enumerate(images):
        h = np.einsum("ksf,mfo->ksmo", weights, w, optimize=True)
        for k, (c, n) in enumerate(zip(basis, cells, strict=True)):
            for other in np.flatnonzero(lattice.can_hold[c, 1:]):
                key = (int(c), *map(int, n), int(other) + 1)
                table = found.setdefault(key, np.zeros((model.n_members, len(images), n_hidden)))
                table[:, g] += h[k, other]
    largest = max(np.abs(table).max() for table in found.values())
    return {key: table.ravel() for key, table in found.items() if np.abs(table).max() > NEGLIGIBLE * largest}


def _slots(kinds, pairs, n_basis: int) -> list[list[tuple]]:
    """Per parent site, every (other site, cell offset) that it sees or that sees it."""
    found: list[set] = [set() for _ in range(n_basis)]
    for (b, _), of in zip(kinds, pairs, strict=True):
        for c, *rest in of:
            n = tuple(rest[:3])
            found[b].add((c, *n))
            found[c].add((b, *(-x for x in n)))
    return [sorted(slots) for slots in found]


def neighbours(tables: Tables, supercell: Supercell) -> np.ndarray:
    """(n_sites, K) int32 site in each slot of each site of a supercell."""
    n_basis = supercell.lattice.n_sites
    cells = supercell.cells[:, None, None] + tables.slot_cell[None]
    found = supercell.wrap(cells) * n_basis + tables.slot_basis[None]
    return np.ascontiguousarray(found.reshape(supercell.n_sites, -1), dtype=np.int32)


def energy(tables: Tables, supercell: Supercell, occupations: np.ndarray) -> float:
    """Energy in eV of one configuration (n_sites,) from the tables, everything at once (for checks, not for moves)."""
    near, basis, total = neighbours(tables, supercell), supercell.basis, 0.0
    for site in np.flatnonzero(occupations):
        q = tables.kind[basis[site], occupations[site]]
        h = tables.bias[q].astype(float)
        for k in range(tables.n_slots[basis[site]]):
            other = near[site, k]
            if occupations[other]:
                h = h + tables.sees[q, k, tables.rank[basis[other], occupations[other]]]
        t, n = tables.type[q], tables.rows[q]
        h = h[: n * HIDDEN[0]].reshape(len(tables.b3[t]), -1, HIDDEN[0])
        h = np.where(h > 0, h, SLOPE * h)
        h = np.einsum("mgh,moh->mgo", h, tables.w2[t]) + tables.b2[t][:, None]
        h = np.where(h > 0, h, SLOPE * h)
        total += float((np.einsum("mgo,mo->mg", h, tables.w3[t]) + tables.b3[t][:, None]).mean())
    return total
