"""The carrier through a run: where it starts, what holds it, and what the spheres of each atom see of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leopold_model.standin.engine import Engine, Result, State
from leopold_model.standin.failures import Failures, glue, turn
from leopold_model.standin.occupations import onsite
from leopold_model.standin.settings import Job
from leopold_model.standin.step import Matrices
from leopold_model.standin.wavecar import read_wavecar

HOLD = 1.0  # eV, by which imposed occupations lower the carrier's energy on their site
SLOSHING = 0.05  # eV, energy changes of an electronic loop that is asked not to converge


@dataclass(frozen=True)
class Observed:
    """One electronic ground state with what VASP prints of it; moments carry the sign of the run's MAGMOM."""

    result: Result
    magnetization: float
    moments: np.ndarray
    charges: np.ndarray
    onsite_before: Matrices
    onsite: Matrices


class Electrons:
    """Solves one geometry after the other, each from the state of the one before.

    The state comes from imposed occupations if any (held by a bias as long as OCCEXT or OCCDIR is set), else from
    WAVECAR, else from MAGMOM where that prefers some sites; without any of them it is the band's.
    """

    def __init__(self, job: Job, engine: Engine, failures: Failures, directory: Path):
        self.job, self.engine, self.failures = job, engine, failures
        self.imposed = {
            entry.atom: (entry.up, entry.down)
            for entry in job.imposed
            if job.localising and job.ldaul[_species(job)[entry.atom]] == entry.l
        }
        wanted = np.zeros(len(job.masses))
        for atom, (up, down) in self.imposed.items():
            wanted[atom] = abs(np.trace(up) - np.trace(down))
        self.bias = HOLD * wanted / wanted.max() if wanted.any() else None
        self.spin = -1 if job.magmom.sum() < 0 else 1
        self.state = self._start(wanted, directory)

    def _start(self, wanted: np.ndarray, directory: Path) -> State:
        engine, job = self.engine, self.job
        sites = np.asarray(engine.sites)
        band = State(np.zeros((0, len(sites))))
        if not job.localising or job.n_carriers == 0:
            return band
        if self.bias is None and job.restart:
            state = read_wavecar(directory / "WAVECAR", len(sites))
            return state if len(state.orbitals) in (0, job.n_carriers) else band
        weights = wanted if self.bias is not None else np.abs(job.magmom)
        if np.ptp(weights[sites]) < 1e-6:
            return band
        if (weights[sites] > 0).sum() < job.n_carriers:
            weights = weights + 1e-3 * weights[sites].max()
        return engine.start(weights)

    def solve(self, positions: np.ndarray, step: int) -> Observed:
        """The electronic minimum at `positions` (n, 3) Angstrom, reached from the last one."""
        job, cell = self.job, self.job.poscar.cell
        before = self._per_atom(self.state)
        exhausted = self.failures.at("nelm", step)
        held = self.bias is not None
        if not job.localising:
            result = self.engine.delocalised(positions, cell)
        elif self.failures.since("delocalised", step) and not held:
            result = self.engine.delocalised(positions, cell)
            # at a polaron's geometry even the lowest band state may sit on it: spread it by decree
            even = np.isin(np.arange(len(before)), self.engine.sites) * job.n_carriers / len(self.engine.sites)
            result = replace(result, populations=even)
        else:
            bias = self.bias
            if self.failures.since("moved", step) and not held:
                bias = self._elsewhere(positions)
            result = self.engine.evaluate(
                positions,
                cell,
                self.state,
                bias=bias,
                # the error of the energy is of second order in the residual, that of the forces of first
                tolerance=np.clip(1e-2 * job.ediff, 1e-9, 1e-5),
                max_iterations=job.nelm,
            )
        if exhausted:
            result = replace(result, converged=False, iterations=_sloshing(result, job.nelm))
        self.state = result.state
        now = onsite(self.engine, positions, cell, result.populations)
        first = onsite(self.engine, positions, cell, before)
        matrices = self._imposing((now.up, now.down))
        if self.failures.since("orbital", step) and not held:
            matrices = turn(matrices)
        if self.failures.at("glued", step):
            matrices = glue(matrices, int(self.engine.sites[0]))
        return Observed(
            result=result,
            magnetization=self.spin * float(job.n_carriers) if job.ispin == 2 else 0.0,
            moments=self.spin * np.asarray(now.moments)[:, :3],
            charges=np.asarray(now.charges)[:, :3],
            onsite_before=self._spins((first.up, first.down)),
            onsite=self._spins(matrices),
        )

    def _imposing(self, matrices: Matrices) -> Matrices:
        """Patched VASP overwrites the matrices before it prints them."""
        up, down = list(matrices[0]), list(matrices[1])
        for atom, (a, b) in self.imposed.items():
            up[atom], down[atom] = a, b
        return up, down

    def _spins(self, matrices: Matrices) -> Matrices:
        if self.job.ispin == 1:
            mean = [0.5 * (up + down) for up, down in zip(*matrices, strict=True)]
            return mean, mean
        return matrices if self.spin > 0 else (matrices[1], matrices[0])

    def _per_atom(self, state: State) -> np.ndarray:
        full = np.zeros(len(self.job.masses))
        full[np.asarray(self.engine.sites)] = (state.orbitals**2).sum(axis=0)
        return full

    def _elsewhere(self, positions: np.ndarray) -> np.ndarray:
        """A bias that draws the carrier to the site farthest from where the run started it."""
        if not hasattr(self, "refuge"):
            sites = np.asarray(self.engine.sites)
            home = positions[np.argmax(self._per_atom(self.state))]
            offset = (positions[sites] - home) @ np.linalg.inv(self.job.poscar.cell)
            away = np.linalg.norm((offset - np.rint(offset)) @ self.job.poscar.cell, axis=1)
            self.refuge = sites[np.argmax(away)]
            weights = np.full(len(positions), 1e-6)
            weights[self.refuge] = 1.0
            self.state = self.engine.start(weights)
        bias = np.zeros(len(positions))
        bias[self.refuge] = HOLD
        return bias


def _species(job: Job) -> np.ndarray:
    return np.repeat(range(len(job.poscar.counts)), job.poscar.counts)


def _sloshing(result: Result, nelm: int) -> list[tuple[float, float, float]]:
    """NELM iterations that end as far from convergence as they began."""
    signs = [(-1) ** k for k in range(nelm)]
    return [
        (result.energy + (SLOSHING * s if k < nelm - 1 else 0.0), 2 * SLOSHING * s, SLOSHING)
        for k, s in enumerate(signs)
    ]
