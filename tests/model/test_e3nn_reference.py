"""One layer written with generic irreps (e3nn-jax) against the explicit scalars and vectors of the fast path."""

from __future__ import annotations

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np

from leopold_model.graph import neighbours
from leopold_model.network import _layer, _radial
from leopold_model.radial import bessel

from .conftest import random_model, rattled


def reference_layer(p, spec, basis, vectors, senders, receivers, columns, s, v):
    """The same layer from tensor products and spherical harmonics; every irrep carries its parity."""
    S, V, n = spec.scalars, spec.vectors, len(s)
    weights = _radial(p["radial"], basis)
    source, target = np.concatenate([senders, receivers]), np.concatenate([receivers, senders])
    weights = jnp.concatenate([weights, weights])
    harmonics = e3nn.spherical_harmonics("1o", jnp.concatenate([vectors, -vectors]), True, "component")

    def vector_irreps(x):  # (n, 3, C) -> C x 1o
        return e3nn.IrrepsArray(f"{x.shape[2]}x1o", jnp.swapaxes(x, 1, 2).reshape(len(x), -1))

    def product(left, right, irrep):
        out = e3nn.elementwise_tensor_product(left, right, filter_ir_out=[irrep])
        assert all(ir == e3nn.Irrep(irrep) for _, ir in out.irreps)
        return out

    def spread(channels):  # the harmonic once per channel, for channel-wise products
        return e3nn.concatenate([harmonics] * channels).simplify()

    up = s @ p["up0"]
    scalars = up[source][:, :S] * weights[:, :S]
    vector_out, used = "down1" in p, S
    if v is not None:
        b = (v @ p["up1"])[source]
        # e3nn divides the scalar product by sqrt 3, the fast path does not
        dot = product(vector_irreps(b[:, :, :V]), spread(V), "0e").array * 3**0.5
        scalars = jnp.concatenate([scalars, dot * weights[:, S : S + V]], axis=1)
        used += V
    summed = e3nn.scatter_sum(scalars, dst=jnp.asarray(target), output_size=n) / spec.mean_neighbours**0.5
    if not vector_out:
        return jax.nn.silu(summed @ p["down0"] + self_connection(p, columns, s)), None
    sent = e3nn.IrrepsArray(f"{V}x0e", up[source][:, S:] * weights[:, used : used + V])
    message = product(sent, spread(V), "1o")
    if v is not None:
        message = message + vector_irreps(b[:, :, V:] * weights[:, None, used + V :])
    new = e3nn.scatter_sum(message, dst=jnp.asarray(target), output_size=n) / spec.mean_neighbours**0.5
    channels = new.mul_to_axis()  # (n, V, 1x1o)
    left, right = jnp.split(jnp.einsum("nck,cd->ndk", channels.array, p["pair1"]), 2, axis=1)
    pair = e3nn.dot(e3nn.IrrepsArray("1o", left), e3nn.IrrepsArray("1o", right), per_irrep=False).array[..., 0]
    summed = jnp.concatenate([summed, pair / 3**0.5], axis=1)
    out = summed @ p["down0"] + self_connection(p, columns, s)
    mixed = jnp.einsum("nck,cd->ndk", channels.array, p["down1"])
    if v is not None:
        mixed = mixed + jnp.einsum("nz,nkc,zcd->ndk", columns, v, p["self1"])
    gated = e3nn.gate(
        e3nn.concatenate([e3nn.IrrepsArray(f"{S + V}x0e", out), e3nn.IrrepsArray(f"{V}x1o", mixed.reshape(n, -1))]),
        even_act=jax.nn.silu,
        even_gate_act=jax.nn.sigmoid,
        normalize_act=False,
    )
    return gated.array[:, :S], jnp.swapaxes(gated.array[:, S:].reshape(n, V, 3), 1, 2)


def self_connection(p, columns, s):
    return jnp.einsum("nz,ns,zst->nt", columns, s, p["self0"]) + columns @ p["bias0"]


def test_every_layer_equals_its_e3nn_form():
    model = random_model(layers=3)
    spec, atoms = model.spec, rattled()
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, spec.cutoff)
    vectors = jnp.asarray(
        atoms.positions[edges.receivers] - atoms.positions[edges.senders] + edges.shifts @ atoms.cell.array
    )
    r = jnp.linalg.norm(vectors, axis=1)
    basis, unit = bessel(r, spec.cutoff, spec.n_radial), vectors * (3**0.5 / r)[:, None]
    columns = jnp.concatenate([jax.nn.one_hot(model.species_index(atoms.numbers), 2), jnp.eye(len(atoms))[:, 4:5]], 1)
    s, v = columns @ model.params["embedding"], None
    for layer in model.params["layers"]:
        # biases start at zero: give them values, so that they are compared too
        layer = layer | {"bias0": jnp.linspace(-1, 1, layer["bias0"].size).reshape(layer["bias0"].shape)}
        expected_s, expected_v = reference_layer(
            layer, spec, basis, vectors, edges.senders, edges.receivers, columns, s, v
        )
        s, v = _layer(layer, spec, basis, unit, jnp.asarray(edges.senders), jnp.asarray(edges.receivers), columns, s, v)
        np.testing.assert_allclose(s, expected_s, atol=1e-11)
        if v is not None:
            np.testing.assert_allclose(v, expected_v, atol=1e-11)
    assert v is None and np.abs(s).max() > 1e-2
