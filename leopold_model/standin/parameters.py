"""Parameter sets of the stand-in's polaron model: one classical lattice and one carrier each.

The barriers that follow from these numbers were chosen, not predicted; see `hamiltonian.py` for the functional.
Host lattices: Matsui and Akaogi, Mol. Simul. 6, 239 (1991) for rutile; Henkelman et al., PRB 72, 115437 (2005) for MgO.
Carrier charges are Z*/(eps_inf q_ion): the partial charges of the lattice already hold the electronic screening, so the
carrier's must as well (about 0.4 in both oxides).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

CUTOFF = 8.0  # Angstrom, of every pair function
DAMPING = 0.25  # 1/Angstrom, of the damped shifted-force Coulomb sum


@dataclass(frozen=True)
class Shell:
    """Transfer integral t exp(-(r-r0)/decay - ((r-r0)/width)^4): eV, Angstrom. The window selects one shell."""

    r0: float
    transfer: float
    decay: float
    width: float


@dataclass(frozen=True)
class Ligand:
    """Size coupling B exp(-(r-r0)/decay - (r/4)^8) of the carrier to its ligands: eV, Angstrom."""

    strength: float
    decay: float
    r0: float


@dataclass(frozen=True)
class Sphere:
    """Magnetization seen by a PAW-like sphere (see `occupations.py`)."""

    inside: float  # share of the carrier inside its own sphere
    other: tuple[float, float]  # (share, reach in Angstrom) on ions of the other sublattice
    same: tuple[float, float]  # the same on ions of the site sublattice
    bond: float  # bond length at which the closed shell has its nominal trace, Angstrom


@dataclass(frozen=True)
class ParameterSet:
    """All numbers of one system: energies in eV, lengths in Angstrom, charges in e."""

    name: str
    carrier: str  # 'electron' or 'hole'
    site_species: str
    charges: dict[str, float]
    l: dict[str, int]  # noqa: E741 - angular momentum of each species' onsite matrix
    # (A, rho, C) of A exp(-r/rho) - C/r^6 for site-site, site-other and other-other pairs
    short_range: tuple[tuple[float, float, float], ...]
    carrier_charge: float
    kernel: tuple[float, float, float]  # (U0 eV, a Angstrom, p): U0 exp(-(r/a)^p)
    sign: float  # of the transfer integrals
    shells: tuple[Shell, ...]
    sphere: Sphere
    ligand: Ligand | None = None
    coordination: float = 0.0  # eV, penalty on (coordination number - 6)^2 of the carrier's site
    binding: dict[str, float] = field(default_factory=dict)  # eV, of the carrier to each impurity on its sublattice

    @property
    def sublattice(self) -> set[str]:
        """Species that can hold the carrier: the host's and the impurities in its place."""
        return {self.site_species, *self.binding}


TIO2 = ParameterSet(
    name="tio2",
    carrier="electron",
    site_species="Ti",
    # a fluoride is an oxide ion whose charge differs by one carrier, so that F plus one electron is neutral; so are a
    # vanadium on a titanium site plus one electron, and below a nitrogen on an oxygen site plus one hole
    charges={"Ti": 2.196, "O": -1.098, "F": -0.698, "V": 2.596},
    l={"Ti": 2, "O": 1, "F": 1, "V": 2},
    short_range=((31120.2, 0.154, 5.25), (16957.53, 0.194, 12.59), (11782.76, 0.234, 30.22)),
    carrier_charge=-0.40,
    kernel=(1.0, 3.1, 2.0),
    sign=-1.0,
    shells=(Shell(2.99, 0.33, 0.6, 0.40), Shell(4.50, 0.01, 0.8, 0.35), Shell(6.37, 0.02, 0.8, 0.20)),
    sphere=Sphere(inside=0.97, other=(0.005, 2.5), same=(0.0, 0.0), bond=1.95),
    ligand=Ligand(0.22, 0.30, 2.0),
    coordination=1.05,
    binding={"V": 2.0},
)

# The same lattice model in another crystal. Octahedra of anatase share edges with four neighbours at 3.03 A and corners
# with four at 3.77 A; each window selects one of these shells and is below 1e-8 at the other. The kernel is flat over
# both, as that of MgO below is over one, so that either hop is adiabatic with a small t: with the t of rutile a band of
# eight neighbours would be lower than the polaron. In a 3x3x1 cell: binding -0.21 eV, 93 % of the carrier on its site,
# barriers 0.146 and 0.179 eV.
ANATASE = replace(
    TIO2,
    name="anatase",
    kernel=(0.8, 4.3, 12.0),
    shells=(Shell(3.03, 0.10, 0.6, 0.35), Shell(3.77, 0.08, 0.6, 0.30)),
    ligand=Ligand(0.20, 0.30, 2.0),
)

MGO_SHARP = ParameterSet(
    name="mgo-sharp",
    carrier="hole",
    site_species="O",
    charges={"Mg": 1.7, "O": -1.7, "N": -2.1},
    l={"Mg": 1, "O": 1, "N": 1},
    short_range=((4870.0, 0.267, 77.0), (926.69, 0.29909, 0.0), (0.0, 1.0, 0.0)),
    carrier_charge=0.40,
    kernel=(1.0, 3.2, 2.0),
    sign=1.0,  # frustrated fcc band: bottom at -4t
    shells=(Shell(2.96, 0.15, 0.6, 0.60),),
    sphere=Sphere(inside=0.77, other=(0.003, 2.5), same=(0.012, 3.4), bond=2.09),
    binding={"N": 2.0},
)

# A kernel that is flat over the nearest shell makes the hop to it adiabatic (U0 - K(nn) < 2t) with a small t, while
# farther sites feel the full U0. The Gaussian kernel of the sharp set leaves 0.58 eV between nearest neighbours: there
# a hop waits until its minimum vanishes and then drops by about 0.1 eV. The size coupling makes up for the hysteresis
# that is gone, so that both sets hop about equally often.
MGO = replace(
    MGO_SHARP,
    name="mgo",
    kernel=(0.8, 4.0, 12.0),
    shells=(Shell(2.96, 0.10, 0.6, 0.60),),
    ligand=Ligand(0.06, 0.30, 2.09),
)

SETS = {s.name: s for s in (MGO, MGO_SHARP, TIO2, ANATASE)}


def choose(symbols: Sequence[str], name: str | None = None, title: str = "") -> ParameterSet:
    """The named set; without a name, of those that know these species the one whose name is a word of `title`, or the
    first. Unknown names and species are refused."""
    present = set(symbols)
    if name is not None and name not in SETS:
        raise ValueError(f"parameters = {name!r}: the stand-in knows {', '.join(SETS)}")
    knowing = [s for s in SETS.values() if present <= set(s.charges)]
    candidates = [SETS[name]] if name is not None else knowing or [TIO2]
    words = re.findall(r"[\w-]+", title.lower())
    chosen = next((s for s in candidates[1:] if s.name in words), candidates[0])
    unknown = sorted(present - set(chosen.charges))
    if unknown:
        raise ValueError(
            f"species {unknown[0]!r} is unknown to the stand-in's set {chosen.name!r} "
            f"({', '.join(chosen.charges)}): it has MgO (N) + hole and TiO2 (F, V) + electron only"
        )
    if chosen.site_species not in present:
        raise ValueError(f"no {chosen.site_species} in the structure: nothing can carry the {chosen.carrier}")
    return chosen
