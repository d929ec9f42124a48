"""Occupation matrices of a localised carrier, taken from a finished run and put on other sites.

What a sphere holds with a carrier in it is far from nominal ones and zeros (an O 2p shell of MgO about 0.6 per orbital
and spin), so the best start for occupation-matrix control is the matrix that VASP itself found once. It is printed
along the Cartesian axes: on another site, whose surroundings are turned, it has to be turned with them. The symmetry
operations of the host without carrier that take one site to the other say how.

Where these are several and the matrix has less symmetry than the site, they give different orientations: p_x, p_y and
p_z of a hole on a cubic site, for instance. `orientations` lists them all and puts first the one whose operation also
takes the distortion around the carrier to the one found around the target; and where no target structure is given, or
it does not tell them apart, the one that overlaps most with the orbital as it was, that is, which turns it least.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.linalg import polar

from leopold_model.analysis.sites import Host, SiteMap, host_from_structure, map_sites
from leopold_model.vasp.outcar import stream_outcar
from leopold_model.vasp.rotation import rotate_occupations
from leopold_model.vasp.run import Run, Step, VaspError, localised_sites, n_carriers, refuse_without_moments, spin_sign

Shell = tuple[int, np.ndarray, np.ndarray]  # l, up, down; matrices (2l+1, 2l+1) in the order of `occmatrix.ORBITALS`

HOST_SYMPREC = 0.01  # Angstrom: a host relaxed, or written with few digits, is still the perfect crystal
SAME_SITE = 0.02  # Angstrom, of the ideal host
LIGANDS = 1.25  # ligands are within so many times the shortest distance from the carrier
SAME = 1e-3  # entries of occupation matrices and sums of squared distortions (Angstrom^2) that are equal


def last_state(path: str | Path) -> tuple[Run, Step]:
    """The settings and the last complete step of an OUTCAR (also .gz), read in memory that does not grow with it."""
    run, last = Run(), None
    for step in stream_outcar(path, run):
        if step.complete:
            last = step
    if last is None:
        raise VaspError(f"{path}: no complete ionic step; harvest occupations from a run that has one")
    return run, last


def carrier_shells(run: Run, step: Step, sites: tuple[int, ...] | list[int] | None = None) -> dict[int, Shell]:
    """{atom from 0: (l, up, down)} of the atoms `sites` in a complete `step`, spin turned so that the carrier's is up.

    Without `sites` those where the carriers of the cell sit. Raises VaspError where the matrices are not those of a
    state to go back to: imposed, not converged, impossible, not printed; or where no carrier is localised.
    """
    if run.occ_banner and run.occ_banner.imposed:
        raise VaspError(
            f"{run.path}: occupations were imposed here and the matrices printed are those; use the released run"
        )
    if not step.converged:
        raise VaspError(f"{run.path}: step {step.index} is not converged electronically; use a run that is")
    if sites is None:
        refuse_without_moments(run)
        sites = localised_sites(step.moments, n_carriers(run, step))
        if not sites:
            raise VaspError(f"{run.path}: no localised carrier in step {step.index}; name the atom to take by --site")
    shells = {}
    for site in sites:
        if not step.onsite or site not in step.onsite:
            raise VaspError(
                f"{run.path}: no onsite density matrix of atom {site} (from 0): set LDAUPRINT = 2, and LDAUL of its "
                "species to the carrier's l"
            )
        if site in step.unphysical:
            raise VaspError(f"{run.path}: the onsite occupations of atom {site} are impossible; check U, l and POTCAR")
        degree, up, down = step.onsite[site]
        shells[site] = (degree, up, down) if spin_sign(step) > 0 else (degree, down, up)
    return shells


def perfect_crystal(atoms: Atoms, species: str) -> Host:
    """The host behind an undistorted cell or supercell without carrier, which may sit on atoms of `species`."""
    return host_from_structure(
        atoms.numbers, atoms.positions, atoms.cell.array, sublattice=species, symprec=HOST_SYMPREC
    )


def site_operations(host: Host, a: int, b: int) -> np.ndarray:
    """Cartesian matrices (k, 3, 3) of the host's space-group operations that take atom `a` of its primitive cell to
    `b` or a translate of it, the smallest turns first and proper ones before improper ones; moments are ignored."""
    rotations, translations = host.symmetry["rotations"], host.symmetry["translations"]
    offset = rotations @ host.basis[a] + translations - host.basis[b]
    takes = np.linalg.norm((offset - np.rint(offset)) @ host.lattice, axis=1) < SAME_SITE
    # the lattice may be symmetric only within a tolerance; a rotation is orthogonal
    found = np.array([polar(operation)[0] for operation in host.point_group[takes]]).reshape(-1, 3, 3)
    order = np.lexsort((-np.round(np.trace(found, axis1=1, axis2=2), 6), -np.round(np.linalg.det(found))))
    return found[order]


def orientations(shell: Shell, source: SiteMap, site: int, onto: int, target: SiteMap | None = None) -> list[Shell]:
    """Every distinct matrix that the host's symmetry makes of `shell` on atom `onto`, the one to use first.

    `shell` was found on atom `site` of the structure behind `source`. `onto` is an atom of the structure behind
    `target`, a map onto the same host, whose distortion chooses (see the module); without it, of that of `source`.
    Raises VaspError if no operation takes the one site to the other.
    """
    where = source if target is None else target
    for sites, atom in ((source, site), (where, onto)):
        if not 0 <= atom < len(sites.sublattice):
            raise VaspError(f"atom {atom}: the structure has atoms 0 to {len(sites.sublattice) - 1}")
        if atom in sites.substitutions:
            raise VaspError(f"atom {atom} is not the host's on its site: its occupations cannot be mapped")
    a, b = source.sublattice[site], where.sublattice[onto]
    operations = site_operations(source.host, a, b)
    if not len(operations):
        raise VaspError(
            f"no symmetry operation of the host ({source.host.space_group}) takes atom {site} to atom {onto}: "
            "harvest the occupations from a run with the carrier on an equivalent site"
        )
    degree, up, down = shell
    turned = [(rotate_occupations(up, r), rotate_occupations(down, r)) for r in operations]
    overlaps = [float(np.sum((u - d) * (up - down))) for u, d in turned]
    fits = np.zeros(len(operations))
    if target is not None:
        here, there = _surroundings(source, site), _surroundings(target, onto)
        fits = np.array([_fit(r, here, there) for r in operations])
    # rounding lets what is equal be decided by the next criterion; the sort is stable, so the last is the order above
    order = np.lexsort((-np.round(np.array(overlaps) / SAME), -np.round(fits / SAME)))
    distinct: list[Shell] = []
    for u, d in (turned[k] for k in order):
        if all(max(np.abs(u - v).max(), np.abs(d - w).max()) > SAME for _, v, w in distinct):
            distinct.append((degree, u, d))
    return distinct


@dataclass(frozen=True)
class Template:
    """Occupations of the carriers of one run, `shells` by atom (from 0), and the structure they were found in.

    `numbers` (n,), `positions` (n, 3) and `cell` (3, 3) in Angstrom are those of the step they were printed in, in the
    orientation of `host`, the perfect crystal.
    """

    host: Host
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    shells: dict[int, Shell]

    @cached_property
    def sites(self) -> SiteMap:
        """Which site of the host each atom is."""
        return map_sites(self.host, self.numbers, self.positions, self.cell)

    def onto(self, atom: int, target: SiteMap | None = None) -> list[Shell]:
        """`orientations` on `atom` of the first shell whose site is equivalent to it; VaspError if none is."""
        for number, (site, shell) in enumerate(sorted(self.shells.items()), start=1):
            try:
                return orientations(shell, self.sites, site, atom, target)
            except VaspError:
                if number == len(self.shells):
                    raise
        raise VaspError("a template without shells: harvest one from a run with a localised carrier")

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "host": self.host.to_dict(),
            "numbers": self.numbers.tolist(),
            "positions": self.positions.tolist(),
            "cell": self.cell.tolist(),
            "shells": shells_to_list(self.shells),
        }

    @classmethod
    def from_dict(cls, data: dict) -> Template:
        """Inverse of `to_dict`; VaspError if it is none of its results."""
        try:
            arrays = {name: np.array(data[name]) for name in ("numbers", "positions", "cell")}
            return cls(Host.from_dict(data["host"]), **arrays, shells=shells_from_list(data["shells"]))
        except (KeyError, TypeError, ValueError) as error:
            raise VaspError(f"not a template of occupation matrices ({error!r}): take the output of a seed") from None


def shells_to_list(shells: dict[int, Shell]) -> list[dict]:
    """JSON-ready: `site` (atom from 0), `l`, and the matrices `up` and `down` of each shell."""
    return [
        {"site": site, "l": degree, "up": up.tolist(), "down": down.tolist()}
        for site, (degree, up, down) in sorted(shells.items())
    ]


def shells_from_list(data: list[dict]) -> dict[int, Shell]:
    """Inverse of `shells_to_list`."""
    return {shell["site"]: (shell["l"], np.array(shell["up"]), np.array(shell["down"])) for shell in data}


def _surroundings(sites: SiteMap, atom: int) -> tuple[np.ndarray, np.ndarray]:
    """Ideal vectors (k, 3) from `atom` to its ligands, and what the structure adds to each of them (k, 3)."""
    images = (np.indices((5, 5, 5)).reshape(3, -1).T - 2) @ (sites.matrix @ sites.lattice)
    vectors = (sites.positions - sites.positions[atom])[:, None] + images
    lengths = np.linalg.norm(vectors, axis=2)
    lengths[lengths < SAME_SITE] = np.inf
    ligands, image = np.nonzero(lengths < LIGANDS * lengths.min())
    return vectors[ligands, image], sites.displacement[ligands] - sites.displacement[atom]


def _fit(rotation: np.ndarray, here, there) -> float:
    """How much of the distortion `there` is the one `here` turned by `rotation`: their product over the ligands."""
    ideal, distortion = here
    nearest = np.linalg.norm((ideal @ rotation.T)[:, None] - there[0][None], axis=2).argmin(axis=1)
    return float(np.sum((distortion @ rotation.T) * there[1][nearest]))
