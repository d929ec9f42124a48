"""The network of the published LEOPOLD models (Birschitzky et al. 2025), to the last constant.

Like `network`, a NequIP-type network on scalars `s` (n, S) and vectors `v` (n, 3, V), but with even vectors (1e) and
even edges, so that the cross product v x r has its place and mirror symmetry is not kept. Paths: 0e x 0e -> 0e,
1e x 1e -> 0e, 0e x 1e -> 1e, 1e x 0e -> 1e, 1e x 1e -> 1e. The cut-off acts between `onset` and `cutoff` only, the
frequencies of the radial basis are learned, gates are swishes like the scalars, heads are linear.

`params` hold the weights with every constant factor folded in (fan-in, sqrt 3 of the harmonics, number of neighbours;
see `convert_command`). As for the default network, atomic energies are relative to the references of the model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

# 1 / sqrt of the mean of swish(x)^2 over normal x, from the million random numbers the published code drew for it
SWISH = 1.6765620560798837
IN_BOUNDS = "promise_in_bounds"


@dataclass(frozen=True)
class PublishedSpec:
    """Architecture; `elements` are atomic numbers, ascending; lengths in Angstrom."""

    variant: ClassVar[str] = "published"
    ensemble: ClassVar[int] = 1
    committee: ClassVar[int] = 1

    elements: tuple[int, ...]
    cutoff: float = 5.0
    onset: float = 4.5
    layers: int = 3
    scalars: int = 42
    vectors: int = 8
    n_radial: int = 8
    radial_hidden: tuple[int, ...] = (16, 16)


def init(seed: int, spec: PublishedSpec, dtype=jnp.float32, mean_neighbours: float = 30.0) -> dict:
    """Random parameters, messages of unit size with `mean_neighbours`; the same seed gives the same on any device."""
    rng = np.random.default_rng(seed)
    n_columns, S, V = len(spec.elements) + 1, spec.scalars, spec.vectors

    def weight(*shape, fan_in=None):
        return jnp.asarray(rng.normal(size=shape) / (fan_in or shape[-2]) ** 0.5, dtype)

    def layer(first: bool, last: bool) -> dict:
        vector_in, vector_out = not first, not last
        used = S + V * vector_in
        through = S + 2 * V * vector_in
        p = {
            "radial": [
                weight(a, b) for a, b in pairwise((spec.n_radial, *spec.radial_hidden, used + through * vector_out))
            ],
            "up0": weight(S, S),
            "down0": weight(used, S + V * vector_out, fan_in=mean_neighbours * used),
            "self0": weight(n_columns, S, S + V * vector_out),
        }
        if vector_in:
            p["up1"] = weight(V, V)
        if vector_out:
            p["down1"] = weight(through, V, fan_in=mean_neighbours * through)
        if vector_in and vector_out:
            p["self1"] = weight(n_columns, V, V)
        return p

    return {
        "embedding": weight(n_columns, S, fan_in=1),
        "frequencies": jnp.asarray(np.pi * np.arange(1, spec.n_radial + 1), dtype),
        "layers": [layer(k == 0, k == spec.layers - 1) for k in range(spec.layers)],
        "heads": {"energy": weight(S, 1), "occupations": weight(S, 2)},
        "scales": {
            "energy": jnp.ones((), dtype),
            "occupation_scale": jnp.ones((len(spec.elements), 2), dtype),
            "occupation_shift": jnp.zeros((len(spec.elements), 2), dtype),
        },
    }


def atomic_outputs(params, spec: PublishedSpec, vectors, senders, receivers, edge_mask, species, charge):
    """Atomic energies (n,) eV, relative to the references, and occupations (n, 2).

    Arguments as `network.member_outputs`: each pair once, vectors (P, 3) receiver minus sender in Angstrom.
    """
    dtype = params["embedding"].dtype
    # padded pairs sit at the cutoff, where basis and slope vanish; a zero vector would give NaN gradients
    vectors = jnp.where(edge_mask[:, None], vectors, jnp.asarray([spec.cutoff, 0, 0], vectors.dtype)).astype(dtype)
    distance = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    unit = vectors / distance[:, None]
    waves = jnp.sin(distance[:, None] * (params["frequencies"] / spec.cutoff))
    basis = waves * (envelope(distance, spec.onset, spec.cutoff) / distance)[:, None]

    one_hot = jax.nn.one_hot(species, len(spec.elements), dtype=dtype)
    columns = jnp.concatenate([one_hot, charge.astype(dtype)[:, None]], axis=1)
    s, v = columns @ params["embedding"], None
    for layer in params["layers"]:
        s, v = _layer(layer, spec, basis, unit, senders, receivers, columns, s, v)

    scales, heads = params["scales"], params["heads"]
    energies = scales["energy"] * (s @ heads["energy"])[:, 0]
    occupations = (s @ heads["occupations"]) * (one_hot @ scales["occupation_scale"])
    return energies, occupations + one_hot @ scales["occupation_shift"]


def envelope(distance, onset: float, cutoff: float):
    """1 below `onset`, 0 beyond `cutoff`, in between the switching function of CHARMM (Brooks et al. 1983)."""
    square = jnp.clip(distance, onset, cutoff) ** 2
    a, b = onset**2, cutoff**2
    return (b - square) ** 2 * (b + 2 * square - 3 * a) / (b - a) ** 3


def _layer(p, spec: PublishedSpec, basis, unit, senders, receivers, columns, s, v):
    """One convolution with self-connection and gate; v None stands for zero vectors (first layer)."""
    S, V, n = spec.scalars, spec.vectors, s.shape[0]
    vector_out = "down1" in p
    used = S if v is None else S + V
    through = S if v is None else S + 2 * V
    weights = basis
    for matrix in p["radial"][:-1]:
        weights = jax.nn.silu(weights @ matrix)
    weights = weights @ p["radial"][-1]  # of every path and channel, the same both ways along a pair
    a, b = s @ p["up0"], None if v is None else v @ p["up1"]

    def messages(source, y):
        """What the atoms `source` (P,) send along the directions `y` (P, 3)."""
        sent = a.at[source].get(mode=IN_BOUNDS)
        parts = [sent * weights[:, :S]]  # 0e x 0e -> 0e
        if b is not None:
            vector = b.at[source].get(mode=IN_BOUNDS)
            parts.append((vector * y[:, :, None]).sum(axis=1) * weights[:, S:used])  # 1e x 1e -> 0e
        if vector_out:
            new = [(sent * weights[:, used : used + S])[:, None, :] * y[:, :, None]]  # 0e x 1e -> 1e
            if b is not None:
                new.append(vector * weights[:, None, used + S : used + S + V])  # 1e x 0e -> 1e
                new.append(jnp.cross(vector, y[:, :, None], axis=1) * weights[:, None, used + S + V :])  # 1e x 1e -> 1e
            parts.append(jnp.concatenate(new, axis=2).reshape(-1, 3 * through))
        return jnp.concatenate(parts, axis=1)

    gathered = jnp.zeros((n, used + 3 * through * vector_out), s.dtype)
    gathered = gathered.at[receivers].add(messages(senders, unit), mode=IN_BOUNDS)
    gathered = gathered.at[senders].add(messages(receivers, -unit), mode=IN_BOUNDS)
    out = gathered[:, :used] @ p["down0"] + jnp.einsum("nz,nc,zcd->nd", columns, s, p["self0"])
    scalars = SWISH * jax.nn.silu(out[:, :S])
    if not vector_out:
        return scalars, None
    new = gathered[:, used:].reshape(n, 3, through) @ p["down1"]
    if v is not None:
        new = new + jnp.einsum("nz,nkc,zcd->nkd", columns, v, p["self1"])
    return scalars, new * (SWISH * jax.nn.silu(out[:, S:]))[:, None, :]
