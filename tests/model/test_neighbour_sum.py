"""What is done for speed alone changes nothing: pairs in chunks, a polynomial for the sine."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leopold_model import neighbour_sum, network
from leopold_model.charge import charge_state
from leopold_model.graph import edge_vectors, neighbours
from leopold_model.radial import sine

from . import conftest, published_model


@pytest.mark.parametrize("random_model", [conftest.random_model, published_model.random_model])
def test_chunks_of_pairs_change_nothing(monkeypatch, random_model):
    model, atoms = random_model(layers=1), conftest.rattled()
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    vectors = jnp.asarray(edge_vectors(atoms.positions, atoms.cell.array, edges))
    charge = charge_state(len(atoms), [1])
    rest = edges.senders, edges.receivers, edges.mask, model.species_index(atoms.numbers), charge

    def of(params):
        """As training sees it: a function of the forces, which are a gradient themselves."""
        out = network.evaluate(params, model.spec, vectors, *rest)
        return (out.forces**2).sum() + (out.occupations**3).sum(), out

    def compiled():
        return jax.jit(jax.value_and_grad(of, has_aux=True))(model.params)

    (_, whole), slope = compiled()
    for limit in ("WHOLE", "CHUNK"):
        monkeypatch.setattr(neighbour_sum, limit, {"cpu": 37, "gpu": 37})
    assert edges.capacity > 3 * 37 and edges.capacity % 37
    (_, chunked), chunked_slope = compiled()
    same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-9, atol=1e-10), (whole, slope), (chunked, chunked_slope))
    assert all(jax.tree.leaves(same))


def test_sine_and_its_derivatives_in_float32():
    x = jnp.linspace(-1, 9, 20001, dtype=jnp.float32)
    slope = jax.grad(sine)
    turned = np.pi * np.asarray(x, dtype=float)
    np.testing.assert_allclose(sine(x), np.sin(turned), atol=3e-7)
    np.testing.assert_allclose(jax.vmap(slope)(x), np.pi * np.cos(turned), atol=1e-5)
    np.testing.assert_allclose(jax.vmap(jax.grad(slope))(x), -(np.pi**2) * np.sin(turned), atol=3e-5)
