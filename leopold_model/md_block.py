"""One block of dynamics: a compiled scan over steps during which nothing leaves the device.

The state is what stands after a step's `first_half`: positions already at t, the force not yet known. Each step then is
one evaluation at t, which gives energy, forces and occupations together. Positions, velocities and sums are float64,
the network runs in its own dtype on pair vectors formed in float64.

Pairs come from a candidate list (cutoff + skin, made on the host between blocks). Each step the pairs inside the cutoff
are compacted into a list of fixed capacity, in the candidates' order, so the result does not depend on the skin. A step
whose atoms have left half the skin, or whose pairs outgrow the capacity, is marked; the host then redoes the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from leopold_model.frames import Frame
from leopold_model.graph import edge_vectors, is_nearest, neighbours
from leopold_model.md_charge import incomplete, next_carriers, whereabouts
from leopold_model.md_integrators import ACCELERATION, KB, Integrator, degrees_of_freedom, kinetic_energy
from leopold_model.network import of_each

# (params, vectors (P, 3), senders, receivers, mask (P,), species (n,), charge (n,))
# -> atomic energies (K, n) eV and occupations (K, n, 2) of the K readout heads of one network, often one
Potential = Callable[..., tuple[jax.Array, jax.Array]]


Array = Any  # numpy between blocks, traced inside them


class State(NamedTuple):
    """One replica: `positions` (n, 3) Angstrom, `velocities` (n, 3) Angstrom/fs, `carriers` (n_carriers,) atoms."""

    positions: Array
    velocities: Array
    carriers: Array
    bath: Array
    step: Array


class Candidates(NamedTuple):
    """Pairs closer than cutoff + skin at `origin` (n, 3): `senders`, `receivers` (C,), `shifts` (C, 3) Angstrom,
    `closeness` (C,) 1/Angstrom^2, one over the square of the distance that couple of species keeps."""

    senders: Array
    receivers: Array
    shifts: Array
    closeness: Array
    origin: Array
    skin: Array


class Fixed(NamedTuple):
    """What one replica keeps: `cell` (3, 3), `kT` eV, `key` data of its random numbers, `reference` energy eV."""

    cell: Array
    kT: Array
    key: Array
    reference: Array


class Rows(NamedTuple):
    """What each of B steps gives; `distance` the shortest pair, `approach` the smallest distance over what its couple
    of species keeps, `spread` (3,) as `disagreement`, `pairs` how many, `moved` the largest displacement from the
    list's origin over half the skin, `missing` whether the moments miss a carrier."""

    positions: Array
    occupations: Array
    carriers: Array
    sites: Array
    moments: Array
    potential: Array
    temperature: Array
    conserved: Array
    distance: Array
    approach: Array
    spread: Array
    pairs: Array
    moved: Array
    missing: Array


def usual_distances(frames: Sequence[Frame], species: np.ndarray, cutoff: float) -> np.ndarray:
    """Shortest distance (Angstrom) of each couple of species in the frames, symmetric; next to 0 where never met."""
    closest = np.full((species.max() + 1,) * 2, np.inf)
    for frame in frames:
        edges = neighbours(frame.positions, frame.cell, frame.pbc, cutoff)
        distance = np.linalg.norm(edge_vectors(frame.positions, frame.cell, edges), axis=1)
        couple = np.sort([species[edges.senders], species[edges.receivers]], axis=0)
        np.minimum.at(closest, tuple(couple), distance)
    closest = np.minimum(closest, closest.T)
    return np.where(np.isfinite(closest), closest, 1e-3)


def candidates(positions, cell, pbc, cutoff: float, skin: float, species, usual: np.ndarray) -> Candidates:
    """The candidate list in a canonical order, so that longer lists hold shorter ones in the same order.

    `species` (n,), `usual` (n_species, n_species) as from `usual_distances`.
    """
    edges = neighbours(positions, cell, pbc, cutoff + skin)
    i, j, shift = (np.asarray(x) for x in (edges.senders, edges.receivers, edges.shifts))
    # a pair may come in either direction: sender <= receiver, and for an atom's own images the first non-zero shift > 0
    leading = np.where(shift[:, 0] != 0, shift[:, 0], np.where(shift[:, 1] != 0, shift[:, 1], shift[:, 2]))
    swap = (i > j) | ((i == j) & (leading < 0))
    i, j, shift = np.where(swap, j, i), np.where(swap, i, j), np.where(swap[:, None], -shift, shift)
    order = np.lexsort((*shift.T[::-1], j, i))
    translation = shift[order].astype(float) @ np.asarray(cell, dtype=float)
    i, j = i[order].astype(np.int32), j[order].astype(np.int32)
    closeness = usual[species[i], species[j]] ** -2
    return Candidates(i, j, translation, closeness, np.array(positions), np.float64(skin))


def padded(found: Candidates, capacity: int, cutoff: float) -> Candidates:
    """The list with `capacity` rows; padding rows are pairs far outside any cutoff."""
    extra = capacity - len(found.senders)
    zeros = np.zeros(extra, np.int32)
    far = np.tile([1e3 * cutoff, 0.0, 0.0], (extra, 1))
    return found._replace(
        senders=np.concatenate([found.senders, zeros]),
        receivers=np.concatenate([found.receivers, zeros]),
        shifts=np.concatenate([found.shifts, far]),
        closeness=np.concatenate([found.closeness, np.ones(extra)]),
    )


def make_block(
    potential: Potential,
    integrator: Integrator,
    species: np.ndarray,
    masses: np.ndarray,
    *,
    cutoff: float,
    margin: float,
    length: int,
    n_tracked: int,
    dtype,
    images: str = "all",
    networks: int = 1,
    free: np.ndarray | None = None,
    least_moment: float | None = None,
) -> Callable:
    """`block(params, fixed, state, candidates, capacity)` -> state after `length` steps, Rows with a leading axis B.

    Of several `networks`, on a leading axis of `params`, the mean moves the atoms. Where the moments of all atoms add
    up to less than `least_moment` (mu_B), energies say where a carrier went (see `md_charge.whereabouts`).

    Everything but `params` has a leading axis of replicas, advanced together on one device. With `images` "nearest"
    each step keeps one image of each pair, whichever is nearest then. Only `free` (n,) atoms move, None: all.
    """
    n = len(species)
    species_of_atoms = jnp.asarray(species, jnp.int32)
    mass = jnp.asarray(masses, jnp.float64)
    moves = np.ones(n, bool) if free is None else free
    dof = degrees_of_freedom(moves)

    def evaluate(params, positions, pairs, charge):
        vectors, senders, receivers, mask = pairs

        def of_network(own):
            def total(vectors):
                energies, occupations = potential(own, vectors, senders, receivers, mask, species_of_atoms, charge)
                each = energies.astype(jnp.float64).sum(axis=1)
                return each.mean(), (each, occupations)

            (_, (energies, occupations)), slope = jax.value_and_grad(total, has_aux=True)(vectors)
            # summed in float64: both atoms of a pair get the same number, so momentum is conserved to rounding
            # (rows of four, because XLA's CPU scatter is three times faster on them than on rows of three)
            slope = jnp.pad(slope.astype(jnp.float64), ((0, 0), (0, 1)))
            forces = jnp.zeros((n, 4), jnp.float64).at[senders].add(slope).at[receivers].add(-slope)
            return energies, forces[:, :3], occupations

        if networks > 1:
            energies, forces, occupations = of_each(of_network, params)
        else:  # a batch of one compiles to less
            energies, forces, occupations = (x[None] for x in of_network(params))
        energies, occupations = energies.reshape(-1), occupations.reshape(-1, n, 2)
        spread = disagreement(energies, forces, occupations)
        return energies.mean(), forces.mean(axis=0), occupations.mean(axis=0), spread

    def energy_of(params, pairs, charge):
        vectors, senders, receivers, mask = pairs

        def of_network(own):
            return potential(own, vectors, senders, receivers, mask, species_of_atoms, charge)[0].sum(axis=1).mean()

        return of_each(of_network, params).mean() if networks > 1 else of_network(params)

    def one_step(params, fixed: Fixed, state: State, listed: Candidates, capacity: int, noise):
        inverse_cell = jnp.linalg.inv(fixed.cell) if images == "nearest" else None
        pairs, count, distance, approach = _inside(state.positions, listed, cutoff, capacity, dtype, inverse_cell)
        charge = jnp.zeros(n, dtype).at[state.carriers].set(1.0)
        energy, forces, occupations, spread = evaluate(params, state.positions, pairs, charge)
        energy = energy + fixed.reference
        acceleration = forces * (ACCELERATION * moves / mass)[:, None]
        after = integrator.second_half(state.velocities, state.bath, acceleration, fixed.kT)
        # nothing led to the very first step, so there is nothing to finish
        velocities, bath = (
            jnp.where(state.step > 0, new, old) for new, old in zip(after, (state.velocities, state.bath), strict=True)
        )
        kinetic = kinetic_energy(velocities, mass)
        moments = occupations[:, 0] - occupations[:, 1]
        largest, sites = jax.lax.top_k(moments, n_tracked)
        moved = jnp.sqrt(jnp.sum((state.positions - listed.origin) ** 2, axis=1).max())
        row = Rows(
            positions=state.positions.astype(jnp.float32),
            occupations=occupations.astype(jnp.float32),
            carriers=state.carriers,
            sites=sites.astype(jnp.int32),
            moments=largest.astype(jnp.float32),
            potential=energy,
            temperature=2 * kinetic / (dof * KB),
            conserved=energy + kinetic + integrator.bath_energy(bath, fixed.kT),
            distance=distance,
            approach=approach,
            spread=spread,
            pairs=count,
            moved=moved / (0.5 * listed.skin),
            missing=jnp.zeros((), bool) if least_moment is None else incomplete(moments, least_moment),
        )
        carriers = next_carriers(state.carriers, moments, margin, state.positions, fixed.cell)
        new = integrator.first_half(state.positions, velocities, bath, acceleration, fixed.kT, noise)
        return State(new[0], new[1], carriers, new[2], state.step + 1), row, (pairs, moments)

    def settled(params, fixed: Fixed, before: State, after: State, missing, pairs, moments):
        """Carriers of the next step, where one is `missing` with that one found."""

        def told(carriers):
            return energy_of(params, pairs, jnp.zeros(n, dtype).at[carriers].set(1.0))

        found = whereabouts(before.carriers, moments, species_of_atoms, before.positions, fixed.cell, told)
        return jnp.where(missing, found, after.carriers)

    def draw(key, first_step):
        """Standard normal numbers of the block's steps, each a function of key and step alone."""
        key = jax.random.wrap_key_data(key)
        steps = first_step + jnp.arange(length)
        return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key, k), (n, 3), jnp.float32))(steps)

    @partial(jax.jit, static_argnums=4)
    def block(params, fixed, state, listed, capacity):
        alone = state.positions.shape[0] == 1  # a batch of one compiles to less

        def each(function):
            return function if alone else jax.vmap(function)

        def step(state, noise):
            new, row, (pairs, moments) = each(
                lambda fixed, state, listed, noise: one_step(params, fixed, state, listed, capacity, noise)
            )(fixed, state, listed, noise)
            if least_moment is not None:
                # outside the batch: inside, both branches would be computed at every step
                carriers = jax.lax.cond(
                    row.missing.any(),
                    lambda: each(partial(settled, params))(fixed, state, new, row.missing, pairs, moments),
                    lambda: new.carriers,
                )
                new = new._replace(carriers=carriers)
            return new, row

        if alone:
            fixed, state, listed = jax.tree.map(lambda x: x[0], (fixed, state, listed))
        noise = each(draw)(fixed.key, state.step) if integrator.noisy else None
        if alone:
            return jax.tree.map(lambda x: x[None], jax.lax.scan(step, state, noise, length=length))
        noise = noise if noise is None else jnp.moveaxis(noise, 1, 0)
        end, rows = jax.lax.scan(step, state, noise, length=length)
        return end, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), rows)

    return block


def disagreement(energies, forces, occupations):
    """Standard deviations of the energy per atom (eV), of the least certain force by component (eV/Angstrom; the model
    deviation of Zhang et al., Comput. Phys. Commun. 253, 107206, 2020) and of the least certain moment (mu_B), (3,).

    `energies` (M,) and `occupations` (M, n, 2) of all members, `forces` (C, n, 3) of the networks: heads on one trunk
    would each need a backward pass. 0 where there is one.
    """
    n = forces.shape[1]
    moments = occupations[..., 0] - occupations[..., 1]

    def deviation(x):
        return x.var(axis=0, ddof=1) if len(x) > 1 else jnp.zeros(x.shape[1:])

    worst = deviation(energies) / n**2, deviation(forces).mean(axis=1).max(), deviation(moments).max()
    return jnp.sqrt(jnp.stack([x.astype(jnp.float64) for x in worst]))


def _inside(positions, listed: Candidates, cutoff: float, capacity: int, dtype, inverse_cell=None):
    """Pairs within `cutoff`, in list order, on `capacity` rows; how many there are; the shortest distance;
    the smallest one over the distance usual for its species.

    Rows past the count repeat the first candidate and are masked. With `inverse_cell` only nearest images are pairs.
    """
    exact = positions[listed.receivers] - positions[listed.senders] + listed.shifts
    # kept in memory once, or XLA gathers and subtracts anew in every fusion that reads a vector
    vectors = jax.lax.optimization_barrier(exact.astype(dtype))
    square = jnp.sum(vectors**2, axis=1)
    near = square < cutoff**2
    if inverse_cell is not None:
        near &= is_nearest(exact, inverse_cell)
    rank = jnp.cumsum(near.astype(jnp.int32))
    count = rank[-1]
    slot = jnp.where(near, rank - 1, capacity)
    pick = jnp.zeros(capacity, jnp.int32).at[slot].set(jnp.arange(len(slot), dtype=jnp.int32), mode="drop")
    pick = jax.lax.optimization_barrier(pick)
    mask = jnp.arange(capacity) < count
    pairs = vectors[pick], listed.senders[pick], listed.receivers[pick], mask
    return pairs, count, jnp.sqrt(square.min()), jnp.sqrt((square * listed.closeness).min())
