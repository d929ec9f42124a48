"""The polaron model: a classical ionic lattice, one orbital per site, and a self-interaction kernel.

    E = E_ion(R) + sum_ij rho_ij H_ij(R) - 1/2 sum_ij K_ij(R) rho_ij^2 + 1/2 sum_(i!=j) V_ij(R) (n_i n_j - rho_ij^2)

rho is the density matrix of same-spin carriers over the sites and n_i = rho_ii. K_ij = U0 exp(-(r_ij/a)^p) removes the
self-interaction: a far hop feels the full U0, a hop to the nearest site only U0 - K(nn). V is the carriers' Coulomb
interaction; Hartree minus exchange, so it vanishes for one carrier. H_ii is the carrier in the ionic potential plus its
size coupling to the ligands, H_ij the transfer integrals summed over images. Coulomb sums are damped and shifted-force
(Fennell and Gezelter, J. Chem. Phys. 124, 234104 (2006)).

Every term is a sum over pairs (i, j, image), so forces and stress are one pair sum: with f = dE/dr of a pair,
F_i = sum f (r_j - r_i)/r and stress = sum f r r^T / (r volume), at fixed rho (Hellmann-Feynman).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

from leopold_model.standin.pairs import PairList
from leopold_model.standin.parameters import CUTOFF, DAMPING, ParameterSet

COULOMB = 14.399645478  # eV Angstrom
LIGAND_REACH = 5.8  # Angstrom; the size coupling's own window is below 1e-13 there
KERNEL_SWITCH = 1.0  # Angstrom before the cutoff over which the kernel goes to zero


@dataclass(frozen=True)
class Terms:
    """One geometry: ionic energy (eV), H, K and V (sites, sites), and the pair derivatives that forces need."""

    pairs: PairList
    volume: float
    ionic_energy: float
    hopping: np.ndarray  # H, with site energies on the diagonal
    kernel: np.ndarray  # K
    coulomb: np.ndarray  # V, zero diagonal
    vectors: np.ndarray
    distance: np.ndarray
    slopes: dict[str, np.ndarray]
    excess: np.ndarray  # coordination number - 6 of each site


class Hamiltonian:
    """Evaluates the model's terms for one list of species; `sites` are the atoms that can hold a carrier."""

    def __init__(self, symbols: Sequence[str], parameters: ParameterSet):
        self.parameters = parameters
        self.charges = np.array([parameters.charges[s] for s in symbols])
        self.kind = np.array([0 if s in parameters.sublattice else 1 for s in symbols])
        self.sites = np.flatnonzero(self.kind == 0)
        self.n_atoms, self.n_sites = len(symbols), len(self.sites)
        self._binding = np.array([parameters.binding.get(symbols[int(i)], 0.0) for i in self.sites])
        self._site_of = np.full(self.n_atoms, -1)
        self._site_of[self.sites] = np.arange(self.n_sites)
        self._pairs: PairList | None = None

    def pair_list(self, positions: np.ndarray, cell: np.ndarray) -> PairList:
        """The pair list that covers these positions, rebuilt only when atoms have moved too far."""
        pairs = self._pairs
        if pairs is None or not pairs.valid(positions, cell):
            self._pairs = pairs = PairList(positions, cell, self.kind, CUTOFF)
            first, second, (site_site, _, _) = pairs.first, pairs.second, pairs.blocks
            self._charge_product = self.charges[first] * self.charges[second]
            self._charge_first, self._charge_second = self.charges[first], self.charges[second]
            # images of one site: they carry transfer but neither kernel nor Coulomb
            self._distinct = (first[site_site] != second[site_site]).astype(float)
            self._flat = self._site_of[first[site_site]] * self.n_sites + self._site_of[second[site_site]]
            self._shells = [(shell, pairs.within(0, shell.r0 + 2.6 * shell.width)) for shell in self.parameters.shells]
            self._ligands = pairs.within(1, LIGAND_REACH)
        return pairs

    def terms(self, positions: np.ndarray, cell: np.ndarray) -> Terms:
        """All terms at `positions` (n, 3) in the periodic `cell` (3, 3), Angstrom."""
        p, pairs, n = self.parameters, self.pair_list(positions, cell), self.n_sites
        vectors = pairs.vectors(positions)
        true_distance = np.sqrt(np.einsum("kp,kp->p", vectors, vectors))
        r = np.minimum(true_distance, CUTOFF)  # every pair function ends at the cutoff with zero value and slope
        v, dv = _coulomb(r)
        du = np.empty_like(r)
        ionic = 0.0
        for part, (strength, range_, dispersion) in zip(pairs.blocks, p.short_range, strict=True):
            u, du[part] = _short_range(r[part], strength, range_, dispersion)
            ionic += float(u.sum())
        potential = np.bincount(pairs.first, self._charge_second * v, self.n_atoms)
        potential += np.bincount(pairs.second, self._charge_first * v, self.n_atoms)
        ionic += float(0.5 * self.charges @ potential - _SELF * self.charges @ self.charges)
        site_energy = p.carrier_charge * (potential - 2.0 * _SELF * self.charges)[self.sites] - self._binding
        slopes = {"coulomb": dv, "short_range": du}

        site_site = pairs.blocks[0]
        hopping = np.zeros((n, n))
        slopes["transfer"] = np.zeros(site_site.stop)
        for shell, part in self._shells:
            t, dt = _transfer(r[part], shell)
            slopes["transfer"][part] += p.sign * dt
            hopping += self._matrix(p.sign * t, part)
        k, dk = _kernel(r[site_site], *p.kernel)
        slopes["kernel"] = self._distinct * dk
        kernel = self._matrix(self._distinct * k, site_site)
        kernel[np.diag_indices(n)] = p.kernel[0]
        coulomb = self._matrix(p.carrier_charge**2 * self._distinct * v[site_site], site_site)

        excess: np.ndarray = np.zeros(n)
        if p.ligand is not None:
            part = self._ligands
            sites = self._site_of[pairs.first[part]]
            b, slopes["ligand"] = _ligand(r[part], p.ligand)
            f, slopes["count"] = _count(r[part])
            excess = np.bincount(sites, f, n) - 6.0
            site_energy = site_energy + np.bincount(sites, b, n) + p.coordination * excess**2
        hopping[np.diag_indices(n)] += site_energy
        volume = abs(float(np.linalg.det(cell)))
        return Terms(pairs, volume, ionic, hopping, kernel, coulomb, vectors, true_distance, slopes, excess)

    def _matrix(self, values: np.ndarray, part: slice) -> np.ndarray:
        """Symmetric (sites, sites) matrix from pair values; an image of the same site counts twice, as it should."""
        n = self.n_sites
        half = np.bincount(self._flat[part], values, n * n).reshape(n, n)
        return half + half.T

    def forces(
        self, terms: Terms, density: np.ndarray, kernel_weight: np.ndarray, coulomb_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forces (n, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 (tensile positive).

        `density` is rho (sites, sites); `kernel_weight` multiplies -K/2 and `coulomb_weight` V/2 in the energy
        (rho_ij^2 and n_i n_j - rho_ij^2 for a pure state; None stands for zero).
        """
        p, pairs, slopes = self.parameters, terms.pairs, terms.slopes
        site_site, part = pairs.blocks[0], self._ligands
        population = np.zeros(self.n_atoms)
        population[self.sites] = np.diag(density)
        n_first, n_second = population[pairs.first], population[pairs.second]
        product = self._charge_product + p.carrier_charge * (
            n_first * self._charge_second + n_second * self._charge_first
        )
        if coulomb_weight is not None:
            product[site_site] += p.carrier_charge**2 * self._distinct * coulomb_weight.ravel()[self._flat]
        slope = product * slopes["coulomb"] + slopes["short_range"]
        slope[site_site] += 2.0 * density.ravel()[self._flat] * slopes["transfer"]
        slope[site_site] -= kernel_weight.ravel()[self._flat] * slopes["kernel"]
        if p.ligand is not None:
            strain = 2.0 * p.coordination * terms.excess[self._site_of[pairs.first[part]]]
            slope[part] += n_first[part] * (slopes["ligand"] + strain * slopes["count"])
        pull = (slope / terms.distance) * terms.vectors
        n = self.n_atoms
        forces = np.stack([np.bincount(pairs.first, f, n) - np.bincount(pairs.second, f, n) for f in pull], axis=1)
        return forces, pull @ terms.vectors.T / terms.volume


# -------------------------------------------------------------------------------------- pair functions: value and slope


def _coulomb(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k_e [erfc(a r)/r - value at the cutoff - slope there (r - rc)]: eV per e^2, and its derivative."""
    screened = erfc(DAMPING * r) / r
    slope = -(screened + (2.0 * DAMPING / np.sqrt(np.pi)) * np.exp(-((DAMPING * r) ** 2))) / r
    value = screened - _EDGE[0] - _EDGE[1] * (r - CUTOFF)
    return COULOMB * value, COULOMB * (slope - _EDGE[1])


def _edge() -> tuple[float, float]:
    screened = float(erfc(DAMPING * CUTOFF)) / CUTOFF
    gauss = 2.0 * DAMPING / np.sqrt(np.pi) * np.exp(-((DAMPING * CUTOFF) ** 2))
    return screened, -(screened + gauss) / CUTOFF


_EDGE = _edge()
_SELF = COULOMB * (_EDGE[0] / 2.0 + DAMPING / np.sqrt(np.pi))


def _short_range(r: np.ndarray, strength: float, range_: float, dispersion: float) -> tuple[np.ndarray, np.ndarray]:
    """A exp(-r/rho) - C/r^6, shifted to zero value and slope at the cutoff: eV and eV/Angstrom."""

    def bare(x):
        repulsion = strength * np.exp(-x / range_)
        attraction = dispersion / x**6 if dispersion else 0.0
        return repulsion - attraction, -repulsion / range_ + 6.0 * attraction / x

    if strength == 0.0 and dispersion == 0.0:
        return np.zeros_like(r), np.zeros_like(r)
    (value, slope), (value_edge, slope_edge) = bare(r), bare(CUTOFF)
    return value - value_edge - slope_edge * (r - CUTOFF), slope - slope_edge


def _transfer(r: np.ndarray, shell) -> tuple[np.ndarray, np.ndarray]:
    x = r - shell.r0
    y = (x / shell.width) ** 3 / shell.width
    t = shell.transfer * np.exp(-x / shell.decay - y * x)
    return t, -t * (1.0 / shell.decay + 4.0 * y)


def _kernel(r: np.ndarray, strength: float, range_: float, power: float) -> tuple[np.ndarray, np.ndarray]:
    y = (r / range_) ** power
    k = strength * np.exp(-y)
    x = np.maximum((r - CUTOFF) / KERNEL_SWITCH + 1.0, 0.0)
    switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    slope = -30.0 * (x * (1.0 - x)) ** 2 / KERNEL_SWITCH
    return k * switch, k * (slope - switch * power * y / r)


def _ligand(r: np.ndarray, ligand) -> tuple[np.ndarray, np.ndarray]:
    y = (r / 4.0) ** 8
    b = ligand.strength * np.exp(-(r - ligand.r0) / ligand.decay - y)
    return b, -b * (1.0 / ligand.decay + 8.0 * y / r)


def _count(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth count of ligands within 2.8 Angstrom."""
    f = 1.0 / (1.0 + np.exp((r - 2.8) / 0.08))
    return f, -f * (1.0 - f) / 0.08
