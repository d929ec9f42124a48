"""The quasi-static barrier of one hop: a carrier goes from site i to site j while the lattice is moved by hand.

Words: at one geometry the carrier can be *told* to be on i or on j, which gives two states, each with its energy and
moments. A state *stays* when its largest moment is where it was told to be; one that does not is none that dynamics
would rest on, and its energy may be an extrapolation. The *lower surface* is the lower of the states that stay.

At the *crossing* the lower surface passes from one site to the other. Two answers there tell the kinds of hop apart
(`Crossing.verdict`): if both states are the same shared one, the moment passes over continuously (adiabatic); if they
are two, it jumps (diabatic). Pairs (i, j) of sites and of states are always in this order; energies are in eV, lengths
in Angstrom, moments in mu_B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.sites import SiteMap, host_from_dynamics, map_sites

# the hops of a track are cut where the share of a site passes 0.3 and 0.7: a smaller jump stays within the crossing
JUMP = 0.4
COUPLING = 0.01  # eV, between the two states while the minimum-energy path is sought: rounds the kink at the crossing
SPRING = 5.0  # eV/Angstrom^2 between images: stiff enough that fmax keeps them evenly spaced on a path of some 0.3 A
DIVERGED = 10.0  # eV/Angstrom on an image of a path of relaxed structures: the surface has a hole it fell into
RESOLUTION = 1e-5  # of s, to which the crossing is found
BIAS = 1.0  # eV, with which the stand-in's carrier is put on a site
MAX_STEP = 0.1  # Angstrom, of one relaxation step
ON_SITE = 0.05  # Angstrom, within which a symmetry operation must take ideal sites onto ideal sites


class BarrierError(ValueError):
    """A hop whose barrier cannot be had; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class State:
    """One state of the carrier at one geometry: `energy`, `forces` (n, 3), `moments` (n,)."""

    energy: float
    forces: np.ndarray
    moments: np.ndarray


Surface = Callable[[np.ndarray, int], State]
"""Positions (n, 3) and the told site in, the state out."""


def learned_surface(atoms: Atoms, calculator: Any) -> Surface:
    """The surface of a `LeopoldCalculator` of one carrier, in the cell of `atoms`."""
    image = atoms.copy()
    image.calc = calculator

    def told(positions: np.ndarray, site: int) -> State:
        calculator.carrier_sites = (site,)
        image.positions = positions
        return State(image.get_potential_energy(), image.get_forces(), image.get_magnetic_moments())

    return told


def standin_surface(atoms: Atoms, parameters: str | None = None) -> Surface:
    """The stand-in's own: the carrier is put on the site by a bias, then let go. `parameters` names one of its sets,
    which the species choose otherwise; ValueError for foreign ones."""
    from leopold_model.standin.engine import Engine
    from leopold_model.standin.occupations import moments

    engine, cell = Engine(atoms.get_chemical_symbols(), parameters=parameters), atoms.cell.array

    def told(positions: np.ndarray, site: int) -> State:
        bias = np.where(np.arange(len(positions)) == site, BIAS, 0.0)
        held = engine.evaluate(positions, cell, engine.start(bias), bias=bias)
        free = engine.evaluate(positions, cell, held.state, tolerance=1e-9)
        return State(free.energy, free.forces, moments(engine, positions, cell, free.populations))

    return told


# ---------------------------------------------------------------------------------------------------------- end points


def relax(surface: Surface, atoms: Atoms, site: int, fmax: float, steps: int) -> Atoms:
    """`atoms` at rest with the carrier on `site`; BFGS to a largest force of `fmax` eV/Angstrom in at most `steps`.

    BarrierError when that is not reached, or when the carrier has left the site by then.
    """
    atoms = atoms.copy()
    atoms.calc = _Potential(lambda positions: surface(positions, site))
    converged = BFGS(atoms, logfile=None, maxstep=MAX_STEP).run(fmax=fmax, steps=steps)
    if not converged:
        force = np.linalg.norm(atoms.get_forces(), axis=1).max()
        raise BarrierError(
            f"relaxation with the carrier on atom {site}: largest force {force:.3g} eV/Angstrom after {steps} steps, "
            f"above {fmax:g}: allow more --steps, or start from a structure closer to equilibrium"
        )
    moments = surface(atoms.positions, site).moments
    leader = int(np.argmax(moments))
    if leader != site:
        raise BarrierError(
            f"relaxation with the carrier on atom {site}: the carrier left it, for its moment is {moments[site]:.3f} "
            f"and that of atom {leader} {moments[leader]:.3f}: the site is no minimum here, or the start is too far "
            "from one; choose another site or a structure distorted around this one"
        )
    return atoms


def site_map(atoms: Atoms, species: str) -> SiteMap | None:
    """The sites of the perfect crystal behind a supercell with a carrier on a `species`; None if it is not perfect."""
    try:
        host = host_from_dynamics(atoms.numbers, atoms.positions, atoms.cell.array, sublattice=species)
        sites = map_sites(host, atoms.numbers, atoms.positions, atoms.cell.array)
    except AnalysisError:
        return None
    # a cell that holds nothing twice may as well hold a defect
    return sites if len(host.numbers) < len(atoms) else None


def image_on(sites: SiteMap, i: int, j: int) -> np.ndarray | None:
    """Displacements (n, 3) that take the structure behind `sites`, distorted around atom i, to the same one around j.

    The distortion is turned by the operation of the host that takes i to j and the supercell onto itself; of several,
    by the one whose displacements are the smallest, so that the path is the shortest. None when there is none.
    """
    host, fractional = sites.host, sites.host.basis[sites.sublattice] + sites.cell
    to_supercell = np.linalg.inv(sites.matrix)
    found = []
    for rotation, translation in zip(host.symmetry["rotations"], host.symmetry["translations"], strict=True):
        turned = sites.matrix @ rotation.T @ to_supercell
        moved = fractional @ rotation.T + translation
        moved += np.rint(fractional[j] - moved[i])
        if np.abs(turned - np.rint(turned)).max() > 1e-6 or np.abs(moved[i] - fractional[j]).max() > 1e-3:
            continue
        offset = (moved[:, None] - fractional) @ to_supercell
        apart = np.linalg.norm((offset - np.rint(offset)) @ sites.matrix @ sites.lattice, axis=2)
        onto = apart.argmin(axis=1)
        if apart.min(axis=1).max() > ON_SITE or sites.substitutions:
            continue
        displacement = np.empty_like(sites.displacement)
        displacement[onto] = sites.displacement @ np.linalg.inv(sites.lattice) @ rotation.T @ sites.lattice
        found.append(displacement - sites.displacement)
    return min(found, key=lambda step: float(np.linalg.norm(step)), default=None)


# --------------------------------------------------------------------------------------------------------------- paths


@dataclass(frozen=True)
class Point:
    """Both states at one geometry, `s` of the way from 0 to 1."""

    s: float
    sites: tuple[int, int]
    states: tuple[State, State]

    @property
    def stays(self) -> tuple[bool, bool]:
        """Whether each state keeps its carrier where it was told to be."""
        i, j = (int(np.argmax(state.moments)) == site for site, state in zip(self.sites, self.states, strict=True))
        return i, j

    @property
    def on_j(self) -> bool:
        """Whether the lower surface is that of j."""
        i, j = self.stays
        return j if i != j else self.states[1].energy < self.states[0].energy

    @property
    def energy(self) -> float:
        """On the lower surface."""
        return self.states[self.on_j].energy

    @property
    def moments(self) -> np.ndarray:
        """(2, 2): of the states told i and j, on the sites i and j."""
        return np.array([state.moments[list(self.sites)] for state in self.states])

    @property
    def shares(self) -> tuple[float, float]:
        """m_j / (m_i + m_j) of both states, between 0 and 1."""
        m = np.maximum(self.moments, 0.0)
        i, j = m[:, 1] / m.sum(axis=1)
        return float(i), float(j)


@dataclass(frozen=True)
class HopPath:
    """Points in order of s; energies are relative to the first on the lower surface."""

    points: tuple[Point, ...]

    @property
    def s(self) -> np.ndarray:
        """(k,)"""
        return np.array([p.s for p in self.points])

    @property
    def energies(self) -> np.ndarray:
        """(k, 2): told i and told j."""
        return np.array([[state.energy for state in p.states] for p in self.points]) - self.points[0].energy

    @property
    def lower(self) -> np.ndarray:
        """(k,): of the lower surface."""
        return np.array([p.energy for p in self.points]) - self.points[0].energy

    @property
    def moments(self) -> np.ndarray:
        """(k, 2, 2): point, told site, site."""
        return np.array([p.moments for p in self.points])

    @property
    def barrier(self) -> float:
        """Highest point of the lower surface over its start."""
        return float(self.lower.max())

    @property
    def reaction_energy(self) -> float:
        """End of the lower surface over its start."""
        return float(self.lower[-1])


@dataclass(frozen=True)
class Crossing:
    """Where the lower surface passes from i to j: the point, and its `energy` over the start of the path."""

    point: Point
    energy: float

    @property
    def jump(self) -> float:
        """By how much the share of j differs between the two states: 0 where they are the same one, at most 1."""
        i, j = self.point.shares
        return abs(j - i)

    @property
    def verdict(self) -> str:
        """'adiabatic' (the moment passes over continuously) below a jump of 0.4, 'diabatic' (it jumps) from there."""
        return "adiabatic" if self.jump < JUMP else "diabatic"


def displacement(start: Atoms, end: Atoms) -> np.ndarray:
    """(n, 3), of every atom from `start` to its nearest image in `end`."""
    return find_mic(end.positions - start.positions, start.cell, start.pbc)[0]


def linear_path(
    surface: Surface, start: Atoms, end: Atoms, sites: tuple[int, int], n_images: int
) -> tuple[HopPath, Crossing]:
    """The straight line between two relaxed structures, ends included, and its crossing, found by bisection.

    BarrierError when the carrier's site of the lower surface is not i at the start and j at the end.
    """
    step = displacement(start, end)

    def at(s: float) -> Point:
        return _point(surface, start.positions + s * step, sites, s)

    path = HopPath(tuple(at(float(s)) for s in np.linspace(0.0, 1.0, n_images)))
    for point, due in ((path.points[0], 0), (path.points[-1], 1)):
        if point.on_j != due:
            gap = abs(point.states[1].energy - point.states[0].energy)
            raise BarrierError(
                f"structure relaxed with the carrier on atom {sites[due]}: told atom {sites[1 - due]} instead, the "
                f"carrier stays there too and is {gap:.3f} eV lower, so this hop has no barrier on this surface. The "
                "model has not learned this hop: give it frames of it, or choose another site"
            )
    rising = [(a, b) for a, b in pairwise(path.points) if b.on_j and not a.on_j]
    low, high = max(rising, key=lambda bracket: bracket[0].energy + bracket[1].energy)
    while high.s - low.s > RESOLUTION:
        middle = at((low.s + high.s) / 2)
        low, high = (low, middle) if middle.on_j else (middle, high)
    point = at((low.s + high.s) / 2)
    return path, Crossing(point, point.energy - path.points[0].energy)


@dataclass(frozen=True)
class Search:
    """How the search for the minimum-energy path ended: largest `force` on the images (eV/Angstrom) after `steps`, and
    at how many images neither state stays, where a model may extrapolate."""

    converged: bool
    steps: int
    force: float
    without_state: int


def minimum_energy_path(
    surface: Surface, start: Atoms, end: Atoms, sites: tuple[int, int], n_images: int, fmax: float, steps: int
) -> tuple[HopPath, Search]:
    """Climbing-image nudged elastic band from the straight line; s is the length along the path over the whole.

    Henkelman, Uberuaga and Jonsson, J. Chem. Phys. 113, 9901 (2000), run by FIRE. The charge state of every image is
    that of the lower surface: a function of its positions alone, whereas one that follows the moments from step to step
    also depends on where the image was before. The forces of that surface jump at the crossing, where a climbing image
    would bounce to and fro for ever, so the band moves on the lower eigenvalue of the two states with `COUPLING`
    between them; the energies of the path are those of the states themselves. A band that diverges is given up.
    """
    step = displacement(start, end)
    images = []
    for s in np.linspace(0.0, 1.0, n_images):
        image = start.copy()
        image.positions += s * step
        image.calc = _Potential(lambda positions: coupled(_point(surface, positions, sites)))
        images.append(image)
    band = NEB(images, k=SPRING, climb=True, method="improvedtangent")
    search = FIRE(band, logfile=None)
    for converged in search.irun(fmax=fmax, steps=steps):  # noqa: B007 - the last answer counts
        force = float(np.linalg.norm(band.get_forces(), axis=1).max())
        if force > DIVERGED:
            break
    lengths = [np.linalg.norm(b.positions - a.positions) for a, b in pairwise(images)]
    s = np.concatenate([[0.0], np.cumsum(lengths)]) / np.sum(lengths)
    points = tuple(_point(surface, image.positions, sites, float(x)) for image, x in zip(images, s, strict=True))
    return HopPath(points), Search(bool(converged), search.nsteps, force, sum(not any(p.stays) for p in points))


def coupled(point: Point) -> State:
    """The lower eigenstate of the two states with `COUPLING` between them; one that does not stay is left out.

    Forces are the derivatives of the energy (Hellmann-Feynman); moments are mixed alike.
    """
    i, j = point.states
    stay_i, stay_j = point.stays
    if stay_i != stay_j:
        return j if stay_j else i
    gap = j.energy - i.energy
    split = float(np.hypot(gap, 2 * COUPLING))
    weight = 0.5 * (1.0 - gap / split)
    return State(
        energy=0.5 * (i.energy + j.energy - split),
        forces=(1.0 - weight) * i.forces + weight * j.forces,
        moments=(1.0 - weight) * i.moments + weight * j.moments,
    )


def _point(surface: Surface, positions: np.ndarray, sites: tuple[int, int], s: float = 0.0) -> Point:
    i, j = sites
    return Point(s, sites, (surface(positions, i), surface(positions, j)))


class _Potential(Calculator):
    """ASE calculator of a function from positions to a State."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own convention

    def __init__(self, state_at: Callable[[np.ndarray], State]):
        super().__init__()
        self.state_at = state_at

    def calculate(self, atoms: Atoms | None = None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        state = self.state_at(self.atoms.positions)
        self.results = {"energy": state.energy, "forces": state.forces}
