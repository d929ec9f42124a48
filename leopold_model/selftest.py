"""Start-up self-test: the device asked for is there, and compiled code on it agrees with numpy.

The first case is the one jax 0.10.2 fails on CPUs: a matrix-vector product and a sum, vmapped and compiled, comes back
silently wrong above 16384 rows in float64 and 32768 in float32 (jax-ml/jax#39103).
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import leopold_model.network  # noqa: F401 - switches float64 on, as every run has it

ROWS = {"float64": 20_000, "float32": 40_000}


class UnsoundJax(RuntimeError):
    """The installed jax computes wrong numbers, or cannot compute where it was asked to."""


@cache
def require_sound_jax(device: str = "auto") -> None:
    """Compute on `device`, "cpu", "gpu" or "auto" (jax's choice) from here on.

    Raises UnsoundJax when it is not there, or naming the first operation whose compiled result is wrong.
    """
    _use(device)
    for name, found, expected, tolerance in _cases():
        error = float(np.max(np.abs(np.asarray(found) - expected)) / max(1.0, np.max(np.abs(expected))))
        if not error < tolerance:
            raise UnsoundJax(
                f"jax {jax.__version__} on {jax.default_backend()} computes wrong numbers: {name} is off by "
                f"{error:.1e} (relative). Install another release, for example `pip install jax==0.10.1`"
            )


def _use(device: str) -> None:
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    remedy = "install jax with its accelerator plugin (`pip install 'jax[cuda12]'`) where there is one, or use the CPU"
    try:
        found = jax.default_backend()
    except RuntimeError as error:  # JAX_PLATFORMS names one that is not here
        raise UnsoundJax(f"jax finds no device of the kind asked for ({error}): {remedy}") from None
    if device == "gpu" and found == "cpu":
        raise UnsoundJax(f"device = gpu, but jax {jax.__version__} finds only CPUs here: {remedy} (device: auto)")


def _cases():
    """(name, compiled result, numpy result, relative tolerance) of each operation the network leans on."""
    rng = np.random.default_rng(0)
    for dtype, n in ROWS.items():
        tolerance = 1e-4 if dtype == "float32" else 1e-10
        matrix, vectors = rng.normal(size=(n, 3)), rng.normal(size=(2, 3))
        total = jax.jit(jax.vmap(lambda v, m: (m @ v).sum(), in_axes=(0, None)))
        # the summands nearly cancel, so make them positive: the fault drops rows and shows at once
        matrix, vectors = np.abs(matrix), np.abs(vectors)
        found = total(jnp.asarray(vectors, dtype), jnp.asarray(matrix, dtype))
        yield f"jit(vmap(matvec -> sum)) with {n} rows in {dtype}", found, (matrix @ vectors.T).sum(axis=0), tolerance

        values, target = rng.normal(size=(1000, 7)), rng.integers(0, 50, 1000)
        expected = np.zeros((50, 7))
        np.add.at(expected, target, values)
        scatter = jax.jit(lambda x, i: jnp.zeros((50, 7), x.dtype).at[i].add(x))
        yield f"scatter-add in {dtype}", scatter(jnp.asarray(values, dtype), target), expected, tolerance

        slope = jax.jit(jax.grad(lambda x: jnp.sum(jax.nn.silu(x @ x.T))))
        x = rng.normal(size=(8, 5))
        s = 1 / (1 + np.exp(-x @ x.T))
        g = s + x @ x.T * s * (1 - s)
        yield f"gradient of silu(x x^T) in {dtype}", slope(jnp.asarray(x, dtype)), (g + g.T) @ x, tolerance
