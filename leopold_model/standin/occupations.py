"""What PAW-like spheres see of a carrier: site magnetization, charges and onsite occupation matrices.

The magnetization of atom i is sum_j W_ij n_j: most of a carrier on its own sphere, a little on near ones, and a rest
between the spheres, so moments do not sum to the number of carriers. The onsite matrix of a spin is a closed-shell
matrix, slightly shaped by the ligand field G, plus or minus the magnetization times a projector P that prefers the
lowest orbital of G. P is a Boltzmann weight of G mixed with the identity: smooth, covariant under rotation, an even
mixture where levels are degenerate, and never so pure that an eigenvalue leaves [0, 1]. Orbitals stand in VASP's order:
p = y z x, d = xy yz z2 xz x2-y2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leopold_model.standin.engine import Engine

SMEARING = 0.1  # Angstrom, of the sphere's reach
MINORITY = 0.05  # share of the magnetization that is the other spin's opposite response
FIELD_DECAY = 0.5  # Angstrom, of the ligand field
FIELD_WINDOW = 3.4  # Angstrom, beyond which ions stop counting as ligands
FIELD_REACH = 4.6  # Angstrom, where the window has closed
SAME_BOND = 2.99  # Angstrom, nearest ions of the same kind
CHAIN_FIELD = 0.3  # attraction of near Ti, which selects the t2g orbital that points along the chain
BREATHING = 0.25  # change of the closed-shell trace with the bonds, per full and per empty share of the shell
TEMPERATURE = 0.3  # of the Boltzmann weight, in units of one ligand's field


@dataclass(frozen=True)
class Shell:
    """Closed shell of one species: trace per spin, anisotropy, purity of the carrier's orbital, number of ligands, and
    what the LORBIT table shows in the channels that do not respond (s, p, d)."""

    filling: float
    anisotropy: float
    purity: float
    ligands: int
    inert: tuple[float, float, float]


# Traces per spin near those that DFT+U calculations of these oxides print (O 2p 1.80, Ti 3d 1.25; the Mg 2p semicore is
# nearly full)
SHELLS = {
    "O": Shell(1.80, 0.05, 0.65, 6, (1.56, 0.0, 0.0)),
    "F": Shell(1.90, 0.05, 0.65, 3, (1.65, 0.0, 0.0)),
    "Mg": Shell(2.94, 0.0, 0.65, 6, (0.32, 0.0, 0.0)),
    "Ti": Shell(1.25, 0.15, 0.75, 6, (2.13, 5.97, 0.0)),
    "V": Shell(1.25, 0.15, 0.75, 6, (2.13, 5.97, 0.0)),
    "N": Shell(1.80, 0.05, 0.65, 6, (1.56, 0.0, 0.0)),
}


@dataclass(frozen=True)
class Onsite:
    """Sphere quantities of n atoms: `up` and `down` one (2l+1, 2l+1) matrix per atom, `moments` (n, 3) in mu_B and
    `charges` (n, 3) in e, columns s p d. Up is the carrier's majority spin."""

    up: list[np.ndarray]
    down: list[np.ndarray]
    moments: np.ndarray
    charges: np.ndarray


@dataclass(frozen=True)
class _Geometry:
    """What depends on positions only: W, and per angular momentum the atoms, closed shells and carrier projectors."""

    positions: np.ndarray
    weights: np.ndarray
    shells: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]


def onsite(engine: Engine, positions: np.ndarray, cell: np.ndarray, populations: np.ndarray) -> Onsite:
    """Sphere quantities for carrier `populations` (n,) at `positions` (n, 3) in `cell` (3, 3)."""
    geometry = _geometry(engine, positions, cell)
    moments = geometry.weights @ populations
    # an electron adds majority states; a hole empties minority states, which is the other spin
    gained, lost = (1 - MINORITY, MINORITY) if engine.parameters.carrier == "electron" else (MINORITY, 1 - MINORITY)
    n = len(moments)
    up: list = [None] * n
    down: list = [None] * n
    by_l = np.zeros((n, 3))
    charges = np.array([SHELLS[s].inert for s in engine.symbols])
    for l, (atoms, closed, projector) in geometry.shells.items():  # noqa: E741
        polarised = moments[atoms, None, None] * projector
        majority, minority = closed + gained * polarised, closed - lost * polarised
        for k, atom in enumerate(atoms):
            up[atom], down[atom] = majority[k], minority[k]
        by_l[atoms, l] = moments[atoms]
        charges[atoms, l] += np.einsum("kii->k", majority + minority)
    return Onsite(up, down, by_l, charges)


def moments(engine: Engine, positions: np.ndarray, cell: np.ndarray, populations: np.ndarray) -> np.ndarray:
    """Magnetization (n,) of every sphere in mu_B, without the matrices."""
    pairs = engine.model.pair_list(positions, cell)
    return _weights(engine, positions, pairs) @ populations


def _geometry(engine: Engine, positions: np.ndarray, cell: np.ndarray) -> _Geometry:
    known = engine.spheres
    if known is not None and np.array_equal(known.positions, positions):
        return known
    pairs = engine.model.pair_list(positions, cell)
    found = _Geometry(positions.copy(), _weights(engine, positions, pairs), _shells(engine, positions, pairs))
    engine.spheres = found
    return found


def _weights(engine: Engine, positions: np.ndarray, pairs) -> np.ndarray:
    sphere, n = engine.parameters.sphere, len(positions)
    weights = np.zeros((n, n))
    vectors = pairs.vectors(positions)
    weights[engine.sites, engine.sites] = sphere.inside
    for block, (share, reach) in ((0, sphere.same), (1, sphere.other)):
        if share == 0.0:
            continue
        part = pairs.within(block, FIELD_REACH)
        r = np.linalg.norm(vectors[:, part], axis=0)
        seen = share / (1.0 + np.exp((r - reach) / SMEARING))
        # in unlike pairs the first atom is the site, the second the ion that sees its carrier
        weights += np.bincount(pairs.second[part] * n + pairs.first[part], seen, n * n).reshape(n, n)
        if block == 0:
            weights += np.bincount(pairs.first[part] * n + pairs.second[part], seen, n * n).reshape(n, n)
    return weights


def _shells(engine: Engine, positions: np.ndarray, pairs) -> dict:
    """Closed shells and projectors of all atoms, by angular momentum."""
    symbols, bond = np.array(engine.symbols), engine.parameters.sphere.bond
    ls = np.array([engine.parameters.l[s] for s in symbols])
    vectors = pairs.vectors(positions)
    shells = {}
    for l in np.unique(ls):  # noqa: E741
        atoms = np.flatnonzero(ls == l)
        field, strength = _field(vectors, pairs, pairs.within(1, FIELD_REACH), bond, int(l), len(symbols))
        splitting = field
        if l == 2:
            chain, _ = _field(vectors, pairs, pairs.within(0, FIELD_REACH), SAME_BOND, 2, len(symbols))
            splitting = field - CHAIN_FIELD * chain
        shape = [SHELLS[s] for s in symbols[atoms]]
        filling, anisotropy, purity, ligands = (
            np.array([getattr(s, name) for s in shape])[:, None, None]
            for name in ("filling", "anisotropy", "purity", "ligands")
        )
        even = np.eye(2 * l + 1) / (2 * l + 1)
        full = ligands * np.exp(-((bond / FIELD_WINDOW) ** 8))
        strength = strength[atoms, None, None]
        # a nearly full shell has no room to breathe: eigenvalues stay below 1
        base = filling * (1 + BREATHING * (1 - filling / (2 * l + 1)) * (strength / full - 1))
        closed = base * (even + anisotropy * (field[atoms] / np.maximum(strength, 1e-6) - even))
        levels, orbitals = np.linalg.eigh(splitting[atoms])
        weight = np.exp(-(levels - levels[:, :1]) / TEMPERATURE)
        weight /= weight.sum(axis=1, keepdims=True)
        lowest = (orbitals * weight[:, None, :]) @ orbitals.transpose(0, 2, 1)
        shells[int(l)] = (atoms, closed, purity * lowest + (1 - purity) * even)
    return shells


def _field(vectors, pairs, part: slice, bond: float, l: int, n: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: E741
    """Ligand field (n, 2l+1, 2l+1) of the pairs in `part` and its trace (n,); one ligand at `bond` adds about 1."""
    r = np.linalg.norm(vectors[:, part], axis=0)
    g = np.exp(-(r - bond) / FIELD_DECAY - (r / FIELD_WINDOW) ** 8)
    y = _along(vectors[:, part] / r, l)
    size = 2 * l + 1
    products = (g[:, None, None] * y[:, :, None] * y[:, None, :]).reshape(-1, size * size)
    ends = np.concatenate([pairs.first[part], pairs.second[part]])
    field = np.empty((n, size * size))
    for column in range(size * size):
        field[:, column] = np.bincount(ends, np.tile(products[:, column], 2), n)
    return field.reshape(n, size, size), np.bincount(ends, np.tile(g, 2), n)


def _along(unit: np.ndarray, l: int) -> np.ndarray:  # noqa: E741
    """The m = 0 orbital along each unit vector (3, k) in real harmonics of VASP's order, (k, 2l+1), normalised."""
    x, y, z = unit
    if l == 1:
        return np.stack([y, z, x], axis=1)
    root = np.sqrt(3.0)
    return np.stack([root * x * y, root * y * z, 1.5 * z**2 - 0.5, root * x * z, 0.5 * root * (x**2 - y**2)], axis=1)
