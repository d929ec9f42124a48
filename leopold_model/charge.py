"""The charge state a network is told: c_i = 1 on the n most magnetised atoms, 0 elsewhere (LEOPOLD's encoding).

Energy and occupations are functions of the lattice AND of this column; dynamics moves the ones when the moments move.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def charge_state(n_atoms: int, sites) -> np.ndarray:
    """Indicator (n_atoms,) of the carrier sites; ValueError when a site repeats or lies outside the structure."""
    sites = np.asarray(sites, dtype=int).reshape(-1)
    if len(set(sites.tolist())) != len(sites) or (len(sites) and not 0 <= sites.min() <= sites.max() < n_atoms):
        raise ValueError(f"carrier sites {sites.tolist()}: give distinct atom indices from 0 to {n_atoms - 1}")
    charge = np.zeros(n_atoms)
    charge[sites] = 1.0
    return charge


def most_magnetised(moments: jax.Array, n_carriers: int) -> jax.Array:
    """The `n_carriers` atoms with the largest moments, ascending, (n_carriers,) int32; runs inside compiled code."""
    return jnp.sort(jax.lax.top_k(moments, n_carriers)[1]).astype(jnp.int32)


def spin_moments(occupations):
    """n_up - n_down per atom, mu_B; the last axis of `occupations` is (up, down)."""
    return occupations[..., 0] - occupations[..., 1]
