"""Functions of one pair distance: Bessel basis, smooth envelope, short-range repulsion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import covalent_radii
from numpy.polynomial import Chebyshev, Polynomial

COULOMB = 14.399645478  # eV Angstrom
# sin(pi x) / x as a polynomial in x^2 for |x| < 1/2, to 1e-8
_SINE = Chebyshev.interpolate(lambda u: np.pi * np.sinc(u**0.5), 5, domain=[0, 0.25]).convert(kind=Polynomial).coef


def envelope(distance: jax.Array, cutoff: float, p: int = 6) -> jax.Array:
    """Polynomial falling from 1 at 0 to 0 at `cutoff` with two vanishing derivatives (Gasteiger et al. 2020, eq. 8)."""
    x = jnp.minimum(distance / cutoff, 1.0)
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return 1.0 + x**p * (-a + x * (b - c * x))


@jax.custom_jvp
def sine(half_turns: jax.Array) -> jax.Array:
    """sin(pi x). In float32 a polynomial, because XLA's sine on a CPU takes a tenth of an evaluation of the network."""
    if half_turns.dtype != jnp.float32:
        return jnp.sin(jnp.pi * half_turns)
    n = jnp.round(half_turns)
    x = half_turns - n
    value = jnp.zeros_like(x)
    for coefficient in _SINE[::-1]:
        value = value * x**2 + np.float32(coefficient)
    odd = 2 * jnp.abs(n / 2 - jnp.round(n / 2))
    return (1 - 2 * odd) * x * value


@sine.defjvp
def _sine_slope(primals, tangents):
    (x,), (dx,) = primals, tangents
    return sine(x), jnp.pi * sine(x + 0.5) * dx


def bessel(distance: jax.Array, cutoff: float, n: int) -> jax.Array:
    """sqrt(2/rc) sin(k pi r/rc) / r for k = 1..n, times the envelope and rc so that values are of order one; (P, n)."""
    k = jnp.arange(1, n + 1, dtype=distance.dtype)
    wave = sine(k * (distance / cutoff)[:, None])
    return wave * ((2.0 * cutoff) ** 0.5 * envelope(distance, cutoff) / distance)[:, None]


def screened_coulomb(distance: jax.Array, z1: jax.Array, z2: jax.Array) -> jax.Array:
    """Universal repulsion of two nuclei (Ziegler, Biersack, Littmark 1985), eV; all arguments (P,)."""
    x = distance * (z1**0.23 + z2**0.23) / (0.8854 * 0.529177)
    screen = (
        0.1818 * jnp.exp(-3.2 * x)
        + 0.5099 * jnp.exp(-0.9423 * x)
        + 0.2802 * jnp.exp(-0.4029 * x)
        + 0.02817 * jnp.exp(-0.2016 * x)
    )
    return COULOMB * z1 * z2 / distance * screen


def repulsion(distance: jax.Array, z1: jax.Array, z2: jax.Array, onset: jax.Array) -> jax.Array:
    """Screened nuclear repulsion switched off with its slope at `onset` (P,), eV.

    `onset` is at or below the shortest distance the training set holds for that couple of species, so the term leaves
    the data alone and acts only where the network would extrapolate.
    """
    closeness = jnp.maximum(1.0 - distance / onset, 0.0)
    return screened_coulomb(distance, z1, z2) * closeness**2


def covalent_onset(elements) -> np.ndarray:
    """Default onsets (n_species, n_species), Angstrom: sums of covalent radii."""
    radii = covalent_radii[np.asarray(elements)]
    return radii[:, None] + radii[None, :]
