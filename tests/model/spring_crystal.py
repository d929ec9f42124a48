"""A crystal of springs with constructed moments: a potential whose statistics are known, for tests of the dynamics.

Nearest neighbours of an fcc lattice are joined by harmonic springs, switched off smoothly before the second shell. The
moment of an atom grows where its neighbours come close, and by `told` where the charge state says the carrier is.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from ase.build import bulk

from leopold_model.frames import Frame
from leopold_model.md_simulation import ForceField

LATTICE = 5.0  # Angstrom
R0 = LATTICE / 2**0.5
CUTOFF = 1.32 * R0
SPRING = 2.0  # eV/Angstrom^2


def frame(repeat: int = 2, carriers: tuple[int, ...] = (0,), **kwargs) -> Frame:
    """fcc argon, 4 repeat^3 atoms at rest."""
    atoms = bulk("Ar", "fcc", a=LATTICE, cubic=True).repeat(repeat)
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier_sites=carriers, carrier="hole", **kwargs)


def potential(params, vectors, senders, receivers, mask, species, charge):
    """Springs; `params`: `sensitivity` of moments to neighbours, `told` moment of a told site, `binding` of a carrier
    to a compressed site, eV."""
    r = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    x = jnp.clip((r / R0 - 1.2) / 0.1, 0.0, 1.0)
    weight = jnp.where(mask, 1 - x**3 * (10 - 15 * x + 6 * x**2), 0.0).astype(r.dtype)
    n = species.shape[0]
    pair = 0.25 * SPRING * (r - R0) ** 2 * weight
    squeeze = -(r - R0) * weight
    zero = jnp.zeros(n, r.dtype)
    energy = zero.at[senders].add(pair).at[receivers].add(pair)
    near = zero.at[senders].add(squeeze).at[receivers].add(squeeze)
    energy = energy - params["binding"] * charge * near
    moments = 0.3 + params["sensitivity"] * near + params["told"] * charge
    occupations = jnp.stack([0.5 + moments / 2, 0.5 - moments / 2], axis=1)
    return energy[None], occupations[None]


def force_field(frame: Frame, sensitivity=1.0, told=0.3, binding=0.0) -> ForceField:
    params = {"sensitivity": sensitivity, "told": told, "binding": binding}
    return ForceField(potential, params, CUTOFF, np.zeros(len(frame), np.int32))
