"""The network: lattice and charge state in, atomic energies and spin occupations out.

A NequIP-type E(3)-equivariant message-passing network (Batzner et al. 2022) with even scalars (0e) and odd vectors
(1o), written out as scalars `s` (n, S) and vectors `v` (n, 3, V), which on a CPU is twice as fast as generic irreps.
With full O(3) parity the paths are 0e x 0e -> 0e, 1o x 1o -> 0e, 0e x 1o -> 1o, 1o x 0e -> 1o; the cross product of
two vectors is a pseudovector (1e) and has no place. As in LEOPOLD (Birschitzky et al.) the node input is the one-hot
species with the charge state as one more column, and two heads give energies and occupations (n_up, n_down).

`Spec` is the static part (hashable), `params` a plain pytree: `embedding`, `layers`, `heads`, and `scales`, which are
set from the training data and not trained. An ensemble has several members: `ensemble` readout heads on one trunk, or a
`committee` of whole networks, whose arrays but for the scales have a leading axis, or both. Atomic energies are
RELATIVE to the per-species references, which live in `checkpoint.Model` in float64: their sum is a constant of a
composition and would cost float32 its digits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from leopold_model import published
from leopold_model.neighbour_sum import IN_BOUNDS, columns_of, neighbour_sum
from leopold_model.radial import bessel, covalent_onset, repulsion

# dynamics accumulates in float64 around a float32 model, so both must exist; every array here carries its dtype
jax.config.update("jax_enable_x64", True)


@dataclass(frozen=True)
class Spec:
    """Architecture; `elements` are atomic numbers, ascending: a species is an index into them."""

    variant: ClassVar[str] = "default"

    elements: tuple[int, ...]
    cutoff: float = 5.0
    layers: int = 3
    scalars: int = 32
    vectors: int = 8
    n_radial: int = 8
    radial_hidden: tuple[int, ...] = ()
    head_hidden: int = 32
    ensemble: int = 1
    committee: int = 1
    mean_neighbours: float = 50.0


AnySpec = Spec | published.PublishedSpec


def n_members(spec: AnySpec) -> int:
    """How many opinions a model has: networks times readout heads."""
    return spec.committee * spec.ensemble


@struct.dataclass
class Outputs:
    """What one evaluation gives: `energy` () eV relative to the species' references, `forces` (n, 3) eV/Angstrom,
    `virial` (3, 3) eV (stress times volume, tensile positive), `occupations` (n, 2) e, `pair_gradient` (P, 3)
    eV/Angstrom, the energy's derivative by each pair vector; `member_energies` (K, n) eV and `member_occupations`
    (K, n, 2) e of the K members."""

    energy: jax.Array
    forces: jax.Array
    virial: jax.Array
    occupations: jax.Array
    pair_gradient: jax.Array
    member_energies: jax.Array
    member_occupations: jax.Array


def init(seed: int | tuple[int, ...], spec: Spec, dtype=jnp.float32) -> dict:
    """Random parameters with unit scales and zero shifts; the same seed gives the same parameters on any device."""
    if spec.committee > 1:
        each = [init((seed, k), _alone(spec), dtype) for k in range(spec.committee)]  # type: ignore[arg-type]
        return jax.tree.map(lambda *a: jnp.stack(a), *each) | {"scales": each[0]["scales"]}
    rng = np.random.default_rng(seed)  # numpy's, because jax would compile one program for each shape
    n_columns = len(spec.elements) + 1
    S, V = spec.scalars, spec.vectors

    def weight(*shape, fan_in=None):
        return jnp.asarray(rng.normal(size=shape) / (fan_in or shape[-2]) ** 0.5, dtype)

    def layer(first: bool, last: bool) -> dict:
        vector_in, vector_out = not first, not last
        up = S + V * vector_out
        radial = up + V * vector_in * (1 + vector_out)
        sizes = (spec.n_radial, *spec.radial_hidden, radial)
        down = S + V * vector_in + V * vector_out
        p = {
            "radial": [weight(a, b) for a, b in pairwise(sizes)],
            "up0": weight(S, up),
            "down0": weight(down, S + V * vector_out),
            "self0": weight(n_columns, S, S + V * vector_out),
            "bias0": jnp.zeros((n_columns, S + V * vector_out), dtype),
        }
        if vector_in:
            p["up1"] = weight(V, V * (1 + vector_out))
        if vector_out:
            p["down1"] = weight(V, V)
            p["pair1"] = weight(V, 2 * V)
        if vector_in and vector_out:
            p["self1"] = weight(n_columns, V, V)
        return p

    def head(n_out: int) -> dict:
        K, H = spec.ensemble, spec.head_hidden
        return {
            "in": weight(K, S, H),
            "bias": jnp.zeros((K, 1, H), dtype),
            "out": weight(K, H, n_out),
            "shift": jnp.zeros((K, 1, n_out), dtype),
        }

    return {
        "embedding": weight(n_columns, S, fan_in=1),
        "layers": [layer(k == 0, k == spec.layers - 1) for k in range(spec.layers)],
        "heads": {"energy": head(1), "occupations": head(2)},
        "scales": {
            "energy": jnp.ones((), dtype),
            "occupation_scale": jnp.ones((len(spec.elements), 2), dtype),
            "occupation_shift": jnp.zeros((len(spec.elements), 2), dtype),
            "repulsion_onset": jnp.asarray(covalent_onset(spec.elements), dtype),
        },
    }


def member_outputs(params, spec: AnySpec, vectors, senders, receivers, edge_mask, species, charge):
    """Atomic energies (K, n) eV, relative to the references, and occupations (K, n, 2) of every member.

    `vectors` (P, 3) receiver minus sender, Angstrom; `senders`, `receivers` (P,) with each pair ONCE, in either
    direction (`graph.neighbours`); `edge_mask` (P,) False on padding; `species` (n,) index into `spec.elements`;
    `charge` (n,) 1 on carrier sites. Pairs beyond the cutoff contribute exactly nothing, so a skin list may be passed.
    The class of `spec` says which network it is.
    """
    if isinstance(spec, published.PublishedSpec):
        outputs = published.atomic_outputs(params, spec, vectors, senders, receivers, edge_mask, species, charge)
        return outputs[0][None], outputs[1][None]
    if spec.committee > 1:
        arguments = vectors, senders, receivers, edge_mask, species, charge
        each = by_network(lambda own, alone: member_outputs(own, alone, *arguments), params, spec)
        return tuple(x.reshape(-1, *x.shape[2:]) for x in each)
    dtype = params["embedding"].dtype
    # padded pairs sit at the cutoff, where the envelope and its slope vanish; a zero vector would give NaN gradients
    vectors = jnp.where(edge_mask[:, None], vectors, jnp.asarray([spec.cutoff, 0, 0], vectors.dtype)).astype(dtype)
    distance = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    unit = vectors * (3.0**0.5 / distance)[:, None]
    basis = bessel(distance, spec.cutoff, spec.n_radial)

    one_hot = jax.nn.one_hot(species, len(spec.elements), dtype=dtype)
    columns = jnp.concatenate([one_hot, charge.astype(dtype)[:, None]], axis=1)
    s, v = columns @ params["embedding"], None
    for layer in params["layers"]:
        s, v = _layer(layer, spec, basis, unit, senders, receivers, columns, s, v)

    energies = params["scales"]["energy"] * _head(params["heads"]["energy"], s)[..., 0]
    energies = energies + _repulsion(params, spec, distance, senders, receivers, edge_mask, species)
    occupations = _head(params["heads"]["occupations"], s)
    scale, shift = params["scales"]["occupation_scale"], params["scales"]["occupation_shift"]
    return energies, occupations * (one_hot @ scale) + one_hot @ shift


def by_network(function, params, spec: AnySpec):
    """`function(params, spec)` of each network of a committee, on a leading axis of its results."""
    own = {name: value for name, value in params.items() if name != "scales"}
    return of_each(lambda arrays: function({**arrays, "scales": params["scales"]}, _alone(spec)), own)


def of_each(function, arrays):
    """`function` of each network's arrays: at once, but on a CPU one after the other, which costs 3.7 times one network
    for four of them and not 6 (64 atoms)."""
    return jax.lax.map(function, arrays) if jax.default_backend() == "cpu" else jax.vmap(function)(arrays)


def member(params, spec: AnySpec, k):
    """Parameters and architecture of network `k` of a committee, alone."""
    if spec.committee == 1:
        return params, spec
    own = {name: jax.tree.map(lambda a: a[k], value) for name, value in params.items() if name != "scales"}
    return {**own, "scales": params["scales"]}, _alone(spec)


def _alone(spec) -> Spec:
    return replace(spec, committee=1)


def evaluate(params, spec: AnySpec, vectors, senders, receivers, edge_mask, species, charge, share=None) -> Outputs:
    """Energy, forces, virial and occupations from one evaluation and its gradient; arguments as `member_outputs`.

    Energy and occupations are means over the members. Forces and virial are those of the mean too, unless `share`
    (K,) says how much of each member they are of.
    """

    def total(vectors):
        energies, occupations = member_outputs(params, spec, vectors, senders, receivers, edge_mask, species, charge)
        each = energies.sum(axis=1)
        return each.mean() if share is None else share @ each, (energies, occupations)

    (_, (energies, occupations)), gradient = jax.value_and_grad(total, has_aux=True)(vectors)
    forces = jnp.zeros((species.shape[0], 3), gradient.dtype).at[senders].add(gradient).at[receivers].add(-gradient)
    virial = gradient.T @ vectors
    return Outputs(
        energy=energies.mean(axis=0).sum(),
        forces=forces,
        virial=(virial + virial.T) / 2,
        occupations=occupations.mean(axis=0),
        pair_gradient=gradient,
        member_energies=energies,
        member_occupations=occupations,
    )


def _layer(p, spec: Spec, basis, unit, senders, receivers, columns, s, v):
    """One convolution with self-connection and gate; v None stands for zero vectors (first layer)."""
    S, V, n = spec.scalars, spec.vectors, s.shape[0]
    vector_in, vector_out = v is not None, "down1" in p
    paths = S, V * vector_in, V * vector_out, V * (vector_in and vector_out)
    a, b = s @ p["up0"], v @ p["up1"] if vector_in else None

    def messages(basis, unit, senders, receivers):
        weights = columns_of(_radial(p["radial"], basis), *paths)  # the same both ways along a pair
        return sent(weights, unit, senders), sent(weights, -unit, receivers)

    def sent(weights, y, source):
        """What the atoms `source` (P,) send along the directions `y` (P, 3)."""
        scalar, turned = columns_of(a.at[source].get(mode=IN_BOUNDS), S, V * vector_out)
        parts = [scalar * weights[0]]  # 0e x 0e -> 0e
        if vector_in:
            along, through = columns_of(b.at[source].get(mode=IN_BOUNDS), V, V * vector_out)
            parts.append((along * y[:, :, None]).sum(axis=1) * weights[1])  # 1o x 1o -> 0e
        if vector_out:
            new = (turned * weights[2])[:, None, :] * y[:, :, None]  # 0e x 1o -> 1o
            if vector_in:
                new = new + through * weights[3][:, None, :]  # 1o x 0e -> 1o
            parts.append(new.reshape(-1, 3 * V))
        return jnp.concatenate(parts, axis=1)

    used = S + V * vector_in
    gathered = neighbour_sum(messages, basis, unit, senders, receivers, n) / spec.mean_neighbours**0.5

    scalars, vectors = gathered[:, :used], None
    if vector_out:
        vectors = gathered[:, used:].reshape(n, 3, V)
        left, right = jnp.split(vectors @ p["pair1"], 2, axis=2)
        scalars = jnp.concatenate([scalars, (left * right).sum(axis=1) / 3.0**0.5], axis=1)
    out = scalars @ p["down0"] + _by_column(columns, s, p["self0"]) + columns @ p["bias0"]
    if not vector_out:
        return jax.nn.silu(out), None
    new = vectors @ p["down1"]
    if vector_in:
        new = new + jnp.einsum("nz,nkc,zcd->nkd", columns, v, p["self1"])
    return jax.nn.silu(out[:, :S]), new * jax.nn.sigmoid(out[:, S:])[:, None, :]


def _radial(matrices, basis):
    """Weights of every path and channel, (P, paths); without biases, so that they vanish at the cutoff."""
    for matrix in matrices[:-1]:
        basis = jax.nn.silu(basis @ matrix)
    return basis @ matrices[-1]


def _by_column(columns, s, weight):
    """Species- and charge-dependent linear map: sum over columns z of columns[:, z] * (s @ weight[z])."""
    n = s.shape[0]
    return (columns[:, :, None] * s[:, None, :]).reshape(n, -1) @ weight.reshape(-1, weight.shape[-1])


def _head(p, s):
    """(K, n, n_out) from the final scalars: one hidden layer per head."""
    hidden = jax.nn.silu(jnp.einsum("ns,ksh->knh", s, p["in"]) + p["bias"])
    return hidden @ p["out"] + p["shift"]


def _repulsion(params, spec: Spec, distance, senders, receivers, edge_mask, species):
    """Half of each pair's short-range repulsion on each of its atoms, (n,) eV."""
    numbers = jnp.asarray(spec.elements, distance.dtype)[species]
    onset = params["scales"]["repulsion_onset"][species[senders], species[receivers]]
    pair = repulsion(distance, numbers[senders], numbers[receivers], onset) * edge_mask
    return jnp.zeros(species.shape[0], distance.dtype).at[senders].add(pair / 2).at[receivers].add(pair / 2)
