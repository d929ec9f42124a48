"""The inner loop of sampling, compiled by numba: trial moves, their energy change from the pair tables, Metropolis.

Detailed balance: a defect is drawn uniformly among those that may move, then one of a fixed number of slots around it;
an empty slot or an occupied site is a rejected move. Two sites are in each other's slots or not at all, so both
directions are proposed equally often. A coupled move draws a defect, a slot of its surroundings and a lattice vector,
and takes the defect and whatever sits in that slot along the vector; its reverse is drawn with the same probability.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from leopold_model.patterns.network import HIDDEN, SLOPE

H, OUT = HIDDEN  # compile-time constants: the loops over them are unrolled
LEAK = np.float32(SLOPE)
COLUMNS = 256  # networks evaluated at once; their activations fit the first cache


class Moves(NamedTuple):
    """What may move where, in one supercell. `mobile` (d,) defects that may move; `targets` (s, n_sites, M) site in
    each slot of a species, -1 where there is none, `n_targets` (s,); `partners` (n_sites, P) sites in the surroundings,
    -1 where there is none; `shifts` (n_sites, G) sites displaced by each lattice vector, `may_shift` (s, G); `coupled`
    the share of coupled moves."""

    mobile: np.ndarray
    targets: np.ndarray
    n_targets: np.ndarray
    partners: np.ndarray
    shifts: np.ndarray
    may_shift: np.ndarray
    coupled: float


class Work(NamedTuple):
    """Working space of `_energies`: activations `z` (H, C), `y` (C,), outputs `out` (C,) and `owner` (C,)."""

    z: np.ndarray
    y: np.ndarray
    out: np.ndarray
    owner: np.ndarray


def make_work() -> Work:
    """Room for COLUMNS columns; a little more, or all rows of z would fall on the same lines of the cache."""
    room = COLUMNS + 16
    return Work(
        np.zeros((H, room), np.float32),
        np.zeros(room, np.float32),
        np.zeros(room, np.float32),
        np.zeros(room, np.int64),
    )


class State(NamedTuple):
    """A configuration and what follows from it. `occupations` (n_sites,), `defect_at` (n_sites,), `site_of` (d,),
    `species_of` and `kinds` (d,); `h` (d, R*H) and `e` (d,) inputs of the hidden layers and energies of the defects;
    the rest is working space: a trial state has room for all defects and two that move."""

    occupations: np.ndarray
    defect_at: np.ndarray
    site_of: np.ndarray
    species_of: np.ndarray
    h: np.ndarray
    e: np.ndarray
    kinds: np.ndarray
    trial_h: np.ndarray
    trial_e: np.ndarray
    trial_kinds: np.ndarray
    touched: np.ndarray
    place: np.ndarray
    stamp: np.ndarray
    work: Work


@njit(cache=True, fastmath=True, nogil=True)
def _layers(z, y, out, n, w2, b2, w3, b3):
    """Outputs of n columns of hidden activations z (H, n): columns are contiguous, so that the loops are vectorised."""
    for c in range(n):
        out[c] = b3
    for o in range(OUT):
        for c in range(n):
            y[c] = b2[o]
        for k in range(0, H, 4):
            w0, w1, w2_, w3_ = w2[o, k], w2[o, k + 1], w2[o, k + 2], w2[o, k + 3]
            z0, z1, z2, z3 = z[k], z[k + 1], z[k + 2], z[k + 3]
            for c in range(n):
                y[c] += w0 * z0[c] + w1 * z1[c] + w2_ * z2[c] + w3_ * z3[c]
        w = w3[o]
        for c in range(n):
            out[c] += w * max(y[c], LEAK * y[c])


@njit(cache=True, fastmath=True, nogil=True)
def _energies(h, kinds, n, e, tables, work):
    """Energies e (n,) of defects of `kinds` (n,) with hidden inputs h (n, R*H): the mean over images and members."""
    for row in range(n):
        e[row] = 0.0
    for t in range(tables.w2.shape[0]):
        for m in range(tables.w2.shape[1]):
            column = row = done = 0
            while done < n:
                # fill the columns with rows of this type, as many as fit
                while row < n:
                    q = kinds[row]
                    if tables.type[q] == t:
                        images = tables.images[q]
                        if column + images > COLUMNS:
                            break
                        for g in range(images):
                            start = (m * images + g) * H
                            work.owner[column] = row
                            for k in range(H):
                                x = h[row, start + k]
                                work.z[k, column] = max(x, LEAK * x)
                            column += 1
                    row += 1
                _layers(
                    work.z, work.y, work.out, column, tables.w2[t, m], tables.b2[t, m], tables.w3[t, m], tables.b3[t, m]
                )
                for c in range(column):
                    e[work.owner[c]] += work.out[c] / tables.rows[kinds[work.owner[c]]]
                column, done = 0, row


@njit(cache=True, fastmath=True, nogil=True)
def _inputs(h, site, q, n_basis, near, occupations, tables):
    """Write the hidden inputs of a defect of kind q on a site, from all its neighbours."""
    width = tables.rows[q] * H
    for w in range(width):
        h[w] = tables.bias[q, w]
    for k in range(tables.n_slots[site % n_basis]):
        other = near[site, k]
        s = occupations[other]
        if s > 0:
            a = tables.rank[other % n_basis, s]
            for w in range(width):
                h[w] += tables.sees[q, k, a, w]


@njit(cache=True, fastmath=True, nogil=True)
def _give(sign, site, q, n_basis, near, state, tables, n_touched, clock):
    """Add (sign 1) or subtract (-1) what a defect of kind q on a site gives to its neighbours' trial inputs."""
    for k in range(tables.n_slots[site % n_basis]):
        other = near[site, k]
        s = state.occupations[other]
        if s > 0:
            d = state.defect_at[other]
            b = other % n_basis
            if state.stamp[d] != clock:
                state.stamp[d] = clock
                state.place[d] = n_touched
                state.touched[n_touched] = d
                state.trial_kinds[n_touched] = state.kinds[d]
                for w in range(state.h.shape[1]):
                    state.trial_h[n_touched, w] = state.h[d, w]
                n_touched += 1
            row = state.place[d]
            a = tables.rank[b, s]
            for w in range(tables.rows[state.kinds[d]] * H):
                state.trial_h[row, w] += sign * tables.gives[q, k, a, w]
    return n_touched


@njit(cache=True, fastmath=True, nogil=True)
def refresh(n_basis, near, state, tables):
    """Hidden inputs and energies of all defects from the occupations alone; the total in eV."""
    for d in range(len(state.site_of)):
        site = state.site_of[d]
        state.kinds[d] = tables.kind[site % n_basis, state.species_of[d]]
        _inputs(state.h[d], site, state.kinds[d], n_basis, near, state.occupations, tables)
    _energies(state.h, state.kinds, len(state.site_of), state.e, tables, state.work)
    return state.e.sum()


@njit(cache=True, nogil=True)
def _propose(rng, n_basis, state, moves, who, new):
    """Draw a move: number of defects it moves (0: rejected at once), with `who` and `new` filled."""
    d = moves.mobile[int(rng.random() * len(moves.mobile))]
    site, s = state.site_of[d], state.species_of[d]
    if moves.coupled > 0.0 and rng.random() < moves.coupled:
        other = moves.partners[site, int(rng.random() * moves.partners.shape[1])]
        g = int(rng.random() * moves.shifts.shape[1])
        if other < 0 or other == site or state.occupations[other] == 0:
            return 0
        e = state.defect_at[other]
        if not (moves.may_shift[s - 1, g] and moves.may_shift[state.species_of[e] - 1, g]):
            return 0
        a, b = moves.shifts[site, g], moves.shifts[other, g]
        free_a = state.occupations[a] == 0 or a == other
        free_b = state.occupations[b] == 0 or b == site
        if not (free_a and free_b) or a == site:
            return 0
        who[0], who[1], new[0], new[1] = d, e, a, b
        return 2
    target = moves.targets[s - 1, site, int(rng.random() * moves.n_targets[s - 1])]
    if target < 0 or state.occupations[target] > 0:
        return 0
    who[0], new[0] = d, target
    return 1


@njit(cache=True, nogil=True)
def run(rng, kT, n_moves, energy, best_energy, best, n_basis, near, state, tables, moves):
    """`n_moves` Metropolis moves at kT (eV) from a state of known energy; (energy, lowest energy, accepted moves).
    `best` (n_sites,) receives the occupations of the lowest energy seen, if below `best_energy`."""
    who, new, old = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
    accepted, clock = 0, 0
    state.stamp[:] = 0
    for _ in range(n_moves):
        n = _propose(rng, n_basis, state, moves, who, new)
        if n == 0:
            continue
        clock += 1
        n_touched = 0
        for p in range(n):
            old[p] = state.site_of[who[p]]
            state.occupations[old[p]] = 0
        for p in range(n):
            q = state.kinds[who[p]]
            n_touched = _give(np.float32(-1.0), old[p], q, n_basis, near, state, tables, n_touched, clock)
        for p in range(n):
            q = tables.kind[new[p] % n_basis, state.species_of[who[p]]]
            n_touched = _give(np.float32(1.0), new[p], q, n_basis, near, state, tables, n_touched, clock)
        for p in range(n):
            state.occupations[new[p]] = state.species_of[who[p]]
        for p in range(n):
            q = tables.kind[new[p] % n_basis, state.species_of[who[p]]]
            _inputs(state.trial_h[n_touched], new[p], q, n_basis, near, state.occupations, tables)
            state.touched[n_touched], state.trial_kinds[n_touched] = who[p], q
            n_touched += 1
        _energies(state.trial_h, state.trial_kinds, n_touched, state.trial_e, tables, state.work)
        change = 0.0
        for row in range(n_touched):
            change += state.trial_e[row] - state.e[state.touched[row]]
        if change <= 0.0 or rng.random() < np.exp(-change / kT):
            for row in range(n_touched):
                d = state.touched[row]
                state.h[d] = state.trial_h[row]
                state.e[d] = state.trial_e[row]
                state.kinds[d] = state.trial_kinds[row]
            for p in range(n):
                state.site_of[who[p]] = new[p]
                state.defect_at[new[p]] = who[p]
            energy += change
            accepted += 1
            if energy < best_energy - 1e-6:
                best_energy = energy
                best[:] = state.occupations
        else:
            for p in range(n):
                state.occupations[new[p]] = 0
            for p in range(n):
                state.occupations[old[p]] = state.species_of[who[p]]
    return energy, best_energy, accepted
