"""Crystals with a carrier, and relaxation of both, for the tests of the stand-in's physics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.optimize import minimize

from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.engine import Engine, Result, State

TIGHT = 1e-10  # eV, residual for finite differences


@dataclass
class Case:
    """An engine with a structure and the state of its carriers."""

    engine: Engine
    positions: np.ndarray
    cell: np.ndarray
    state: State | None = None

    def evaluate(self, positions=None, cell=None, **options) -> Result:
        options = {"tolerance": TIGHT, **options}
        positions = self.positions if positions is None else positions
        return self.engine.evaluate(positions, self.cell if cell is None else cell, self.state, **options)


def host(kind: str) -> Atoms:
    """'mgo', 'anatase', 'tio2' (2x2x3), 'fluorine' (one O replaced), 'vacancy' (one removed) or 'primitive' rutile."""
    if kind == "mgo":
        return ideal_cell("mgo", (2, 2, 2))
    if kind == "anatase":
        return ideal_cell("anatase", (2, 2, 1))
    if kind == "primitive":
        return ideal_cell("tio2")
    atoms = ideal_cell("tio2", (2, 2, 3))
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[5])
    if kind == "fluorine":
        atoms.symbols[oxygen] = "F"
    if kind == "vacancy":
        del atoms[oxygen]
    return atoms


def polaron(kind: str, n_carriers: int = 1, parameters: str | None = None, rattle: float = 0.05) -> Case:
    """Carriers held on the first sites while the neighbours of each are pushed out, then rattled and released."""
    atoms = host(kind)
    engine = Engine(atoms.get_chemical_symbols(), parameters=parameters, n_carriers=n_carriers)
    positions, weights = atoms.get_positions(), np.zeros(len(atoms))
    others = np.flatnonzero(engine.model.kind == 1)
    for site in engine.sites[:: max(1, len(engine.sites) // max(1, n_carriers))][:n_carriers]:
        weights[site] = 1.0
        away = atoms.get_distances(site, others, mic=True, vector=True)
        length = np.linalg.norm(away, axis=1)
        near = np.argsort(length)[:6]
        positions[others[near]] += 0.08 * away[near] / length[near, None]
    positions += np.random.default_rng(5).normal(scale=rattle, size=positions.shape)
    case = Case(engine, positions, atoms.cell.array)
    if n_carriers:
        case.state = engine.start(weights)
        case.state = case.evaluate(bias=weights).state
        case.state = case.evaluate().state
    return case


def relax(engine: Engine, positions, cell, state, bias=None, force=1e-5) -> tuple[np.ndarray, Result]:
    """Atoms at rest on the electronic branch of `state`."""
    last = [state]

    def energy(x):
        result = engine.evaluate(x.reshape(-1, 3), cell, last[0], bias=bias, tolerance=1e-9)
        last[0] = result.state
        return result.energy, -result.forces.ravel()

    options = {"maxiter": 500, "gtol": force, "ftol": 1e-15, "maxcor": 20}
    found = minimize(energy, np.ravel(positions), jac=True, method="L-BFGS-B", options=options)
    x = found.x.reshape(-1, 3)
    return x, engine.evaluate(x, cell, last[0], tolerance=1e-9)


def localise(engine: Engine, atoms: Atoms, site: int) -> tuple[np.ndarray, Result]:
    """The relaxed polaron on `site`: relaxed under a bias, released, relaxed again."""
    bias = np.where(np.arange(len(atoms)) == site, 1.0, 0.0)
    x, result = relax(engine, atoms.positions, atoms.cell.array, engine.start(bias), bias, force=1e-2)
    return relax(engine, x, atoms.cell.array, result.state)
