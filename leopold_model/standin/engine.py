"""The stand-in's engine: positions and a state in, energy, forces, stress and carrier populations out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leopold_model.standin.hamiltonian import Hamiltonian, Terms
from leopold_model.standin.parameters import ParameterSet, choose
from leopold_model.standin.scf import minimise

DEGENERATE = 1e-5  # eV, levels closer than this are filled equally
UNIFORM = 1e-6  # spread of populations below which a state counts as delocalised over the perfect crystal


@dataclass(frozen=True)
class State:
    """Carrier orbitals (n_carriers, n_sites), orthonormal; no rows where the carriers are spread over the band."""

    orbitals: np.ndarray


@dataclass(frozen=True)
class Result:
    """One electronic ground state.

    `energy` eV (a bias included, so that forces are its derivative), `forces` (n, 3) eV/Angstrom, `stress` (3, 3)
    eV/Angstrom^3 (tensile positive), `populations` (n,) carriers per atom, `iterations` (energy, change, residual)
    in eV.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    populations: np.ndarray
    state: State
    converged: bool
    iterations: list[tuple[float, float, float]]

    @property
    def n_iterations(self) -> int:
        return len(self.iterations)


class Engine:
    """The polaron model for one list of chemical symbols and a fixed number of same-spin carriers.

    `parameters` names a parameter set; without it the species choose one. The engine keeps a pair list between calls,
    which answers do not depend on: the electronic state is the caller's.
    """

    def __init__(self, symbols: Sequence[str], *, parameters: str | None = None, n_carriers: int = 1):
        self.symbols = list(symbols)
        self.parameters: ParameterSet = choose(self.symbols, parameters)
        self.model = Hamiltonian(self.symbols, self.parameters)
        self.sites = self.model.sites
        self.n_carriers = n_carriers
        self.spheres: Any = None  # of the last geometry, kept for `occupations`
        if not 0 <= n_carriers <= len(self.sites):
            raise ValueError(
                f"n_carriers = {n_carriers}: choose 0 to {len(self.sites)}, "
                f"the number of {self.parameters.site_species} sites"
            )

    def start(self, weights: np.ndarray) -> State:
        """A state with the carriers where `weights` (n_atoms,) wants them (initial moments, or imposed occupations).

        One carrier takes the whole distribution; several take the heaviest sites, one each.
        """
        wanted = np.maximum(np.asarray(weights, dtype=float)[self.sites], 0.0)
        heaviest = np.argsort(-wanted, kind="stable")[: self.n_carriers]
        if self.n_carriers and wanted[heaviest[-1]] <= 0.0:
            raise ValueError(
                f"start weights are positive on {int((wanted > 0).sum())} {self.parameters.site_species} sites, "
                f"{self.n_carriers} carriers need as many: raise the initial moments there"
            )
        orbitals = np.zeros((self.n_carriers, len(self.sites)))
        if self.n_carriers == 1:
            orbitals[0] = np.sqrt(wanted / wanted.sum())
        else:
            orbitals[np.arange(self.n_carriers), heaviest] = 1.0
        return State(orbitals)

    def evaluate(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        state: State | None = None,
        *,
        bias: np.ndarray | None = None,
        tolerance: float = 1e-7,
        max_iterations: int = 500,
    ) -> Result:
        """The local minimum reached from `state`, or from the band states where it is None.

        `bias` (n_atoms,) eV lowers the carrier's energy on an atom where positive. On a perfect crystal the start from
        the band is itself stationary and the delocalised state is returned.
        """
        terms = self._terms(positions, cell, bias)
        if self.n_carriers == 0:
            return self._spread(terms)
        orbitals = state.orbitals if state is not None else np.zeros((0, len(self.sites)))
        if len(orbitals) == 0:
            band, orbitals = self._band(terms)
            if np.ptp(band.diagonal()) < UNIFORM:
                return self._spread(terms, band)
        found = minimise(terms.hopping, terms.kernel, terms.coulomb, orbitals, tolerance, max_iterations)
        density = found.orbitals.T @ found.orbitals
        n = density.diagonal()
        squared = density**2
        exchange = np.outer(n, n) - squared if self.n_carriers > 1 else None
        forces, stress = self.model.forces(terms, density, squared, exchange)
        ionic = terms.ionic_energy
        return Result(
            energy=ionic + found.energy,
            forces=forces,
            stress=stress,
            populations=self._per_atom(n),
            state=State(found.orbitals),
            converged=found.converged,
            iterations=[(ionic + e, de if k else ionic + de, r) for k, (e, de, r) in enumerate(found.iterations)],
        )

    def delocalised(self, positions: np.ndarray, cell: np.ndarray) -> Result:
        """Carriers in the lowest band states, without the kernel that traps them (what ISPIN = 1 gives)."""
        return self._spread(self._terms(positions, cell, None))

    def _terms(self, positions, cell, bias) -> Terms:
        terms = self.model.terms(np.asarray(positions, dtype=float), np.asarray(cell, dtype=float))
        if bias is not None:
            terms.hopping[np.diag_indices(len(self.sites))] -= np.asarray(bias, dtype=float)[self.sites]
        return terms

    def _band(self, terms: Terms) -> tuple[np.ndarray, np.ndarray]:
        """Density matrix of the lowest levels, degenerate ones filled equally, and orbitals to start from."""
        levels, vectors = np.linalg.eigh(terms.hopping)
        if self.n_carriers == 0:
            return np.zeros_like(terms.hopping), vectors[:, :0].T
        top = levels[self.n_carriers - 1]
        full = vectors[:, levels < top - DEGENERATE]
        shell = vectors[:, np.abs(levels - top) <= DEGENERATE]
        missing = self.n_carriers - full.shape[1]
        spread = shell @ shell.T
        density = full @ full.T + (missing / shell.shape[1]) * spread
        if missing < shell.shape[1]:
            # inside a degenerate shell LAPACK's vectors are arbitrary: pick those that rest on the first sites, which
            # is the same choice on every machine
            rows: list[np.ndarray] = []
            for column in spread:
                rest = column - sum(((row @ column) * row for row in rows), np.zeros_like(column))
                if np.linalg.norm(rest) > 1e-3:
                    rows.append(rest / np.linalg.norm(rest))
                if len(rows) == missing:
                    break
            shell = np.array(rows).T
        return density, np.hstack([full, shell]).T

    def _spread(self, terms: Terms, band: np.ndarray | None = None) -> Result:
        """Energy and forces of the band state; kernel and carrier interaction act as between even populations."""
        density = self._band(terms)[0] if band is None else band
        n_sites, n = len(self.sites), self.n_carriers
        off = 1.0 - np.eye(n_sites)
        kernel_weight = np.full((n_sites, n_sites), n / n_sites**2)
        coulomb_weight = off * (n * (n - 1) / n_sites**2)
        energy = terms.ionic_energy + float(np.vdot(density, terms.hopping))
        energy += 0.5 * float(np.vdot(coulomb_weight, terms.coulomb) - np.vdot(kernel_weight, terms.kernel))
        forces, stress = self.model.forces(terms, density, kernel_weight, coulomb_weight)
        return Result(
            energy=energy,
            forces=forces,
            stress=stress,
            populations=self._per_atom(density.diagonal()),
            state=State(np.zeros((0, n_sites))),
            converged=True,
            iterations=[(energy, energy, 0.0)],
        )

    def _per_atom(self, populations: np.ndarray) -> np.ndarray:
        full = np.zeros(len(self.symbols))
        full[self.sites] = populations
        return full
