"""OCCMATRIX, the file of occupation matrix control (Allen and Watson, PCCP 16, 21016 (2014)), and what to put in it.

The patched VASP reads the file with list-directed READs and takes exactly one line of text before each spin block and
one after each atom, the last atom included; without that closing line it dies at the end of the file. The labels are
not looked at: the first block is spin up. Matrices are in VASP's real harmonics along the cell's Cartesian axes, in the
order p = y, z, x; d = xy, yz, z2, xz, x2-y2; f = y(3x2-y2), xyz, yz2, z3, xz2, z(x2-y2), x(x2-3y2).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from leopold_model.vasp.run import VaspError

ORBITALS = {
    0: ("s",),
    1: ("y", "z", "x"),
    2: ("xy", "yz", "z2", "xz", "x2-y2"),
    3: ("y(3x2-y2)", "xyz", "yz2", "z3", "xz2", "z(x2-y2)", "x(x2-3y2)"),
}
DISTINCT = 1.5  # an orbital holds so many times the moment of the next one
Matrices = Mapping[int, tuple[int, np.ndarray, np.ndarray]]  # atom from 0 -> (l, up, down), each (2l+1, 2l+1)


def occmatrix_text(matrices: Matrices) -> str:
    """The OCCMATRIX file for `matrices`; 4 decimals, columns that cannot touch, atoms ascending and numbered from 1."""
    if not matrices:
        raise VaspError("OCCMATRIX without atoms: name at least one site to control")
    lines = [f"{len(matrices)}"]
    for atom, (angular, up, down) in sorted(matrices.items()):
        lines.append(f"{atom + 1} {angular} 2")
        for spin, matrix in ((1, up), (2, down)):
            matrix = _checked(atom, angular, matrix)
            lines.append(f"spin component  {spin}")
            # adding zero turns -0.0 into 0.0
            lines += ["".join(f" {value:10.4f}" for value in row) for row in np.round(matrix, 4) + 0.0]
        lines.append("")
    return "\n".join(lines) + "\n"


def write_occmatrix(path: str | Path, matrices: Matrices) -> None:
    """Write `matrices` as an OCCMATRIX file."""
    Path(path).write_text(occmatrix_text(matrices))


def read_occmatrix(path: str | Path) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """{atom from 0: (l, up, down)} of an OCCMATRIX file, read as VASP reads it; a missing closing line is an error.

    A block with one spin sets up only; VASP leaves down at zero, and so does this.
    """
    lines = _Lines(Path(path).read_text(errors="replace").splitlines(), str(path))
    (n_atoms,) = lines.numbers(1, int)
    matrices = {}
    for _ in range(n_atoms):
        atom, angular, n_spins = lines.numbers(3, int)
        if angular not in ORBITALS or n_spins not in (1, 2):
            raise VaspError(f"{path}: atom {atom} has l = {angular}, {n_spins} spins; l is 0 to 3, spins 1 or 2")
        n = 2 * angular + 1
        blocks = [np.zeros((n, n)), np.zeros((n, n))]
        for spin in range(n_spins):
            lines.skip(f"the label of spin {spin + 1} of atom {atom}")
            blocks[spin] = np.array([lines.numbers(n) for _ in range(n)])
        lines.skip(f"the line that must follow atom {atom}")
        matrices[atom - 1] = (angular, blocks[0], blocks[1])
    return matrices


def omc_matrices(
    host: Matrices,
    site: int,
    *,
    carrier: str,
    angular: int | None = None,
    orbital: np.ndarray | int | None = None,
    spin: int = 0,
) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """Occupations that put one carrier on atom `site` (from 0): the host's own matrices with the carrier's orbital set.

    `host` are the onsite matrices of a run WITHOUT the carrier (`Run.steps[-1].onsite`): what a PAW sphere holds of a
    filled shell is far from 1 (O 2p in MgO about 0.6), so a matrix of nominal ones is a bad start. An electron's
    orbital is filled to 1 in channel `spin`; a hole's is emptied in the other one, so that in both cases n_up - n_down
    on the site has the sign of `spin` (0 up, 1 down). `orbital` is a vector (2l+1,) or the index of a real harmonic;
    the default is the host's emptiest (electron) or fullest (hole) eigenvector in that channel. An atom absent from
    `host` needs `angular` and starts from an empty (electron) or nominally full (hole) shell.
    """
    if carrier not in ("electron", "hole"):
        raise VaspError(f"carrier = {carrier!r}: choose 'electron' or 'hole'")
    if site in host:
        angular, up, down = host[site]
        blocks = [np.array(up, dtype=float), np.array(down, dtype=float)]
    elif angular is not None:
        n = 2 * angular + 1
        blocks = [np.eye(n) * (carrier == "hole") for _ in range(2)]
    else:
        raise VaspError(
            f"site {site} has no onsite matrix in the host run: set LDAUL of its species, or give `angular`"
        )
    channel = spin if carrier == "electron" else 1 - spin
    target = 1.0 if carrier == "electron" else 0.0
    matrix = 0.5 * (blocks[channel] + blocks[channel].T)
    vector = _direction(matrix, orbital, carrier)
    # the orbital's row and column are decoupled from the rest, its own occupation set to the target
    rest = np.eye(len(vector)) - np.outer(vector, vector)
    blocks[channel] = rest @ matrix @ rest + target * np.outer(vector, vector)
    return {site: (angular, blocks[0], blocks[1])}


def spare_others(
    host: Matrices, target: Matrices, sites: list[int] | tuple[int, ...]
) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """`target` plus the unchanged host matrices of `sites`, to keep the carrier from also going there."""
    return {**{i: host[i] for i in sites if i not in target}, **target}


def carrier_orbital(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, float]:
    """The orbital a localised carrier sits in, from its site's onsite matrices: unit vector (2l+1,) and its moment.

    The carrier is the eigenvector of up - down with the largest eigenvalue in size, for an added electron and for a
    hole alike; sign fixed so that its largest component is positive.
    """
    difference = np.asarray(up) - np.asarray(down)
    values, vectors = np.linalg.eigh(0.5 * (difference + difference.T))
    k = int(np.argmax(np.abs(values)))
    return _fixed_sign(vectors[:, k]), float(values[k])


def distinct_orbital(up: np.ndarray, down: np.ndarray) -> np.ndarray | None:
    """`carrier_orbital` where the matrices single one out: None if the second eigenvalue of up - down is nearly as
    large as the first, for then any mixture of the two is as good a choice."""
    difference = np.asarray(up) - np.asarray(down)
    sizes = np.sort(np.abs(np.linalg.eigvalsh(0.5 * (difference + difference.T))))
    return carrier_orbital(up, down)[0] if len(sizes) > 1 and sizes[-1] > DISTINCT * sizes[-2] else None


def orbital_share(orbital: np.ndarray, up: np.ndarray, down: np.ndarray) -> float:
    """Moment that the matrices have in `orbital` (2l+1,), over that of the orbital with the largest: 1 where they are
    the same, 0 where they are orthogonal and the rest of the shell is not spin-polarised."""
    vector = np.asarray(orbital)
    largest = carrier_orbital(up, down)[1]
    return float(vector @ (np.asarray(up) - np.asarray(down)) @ vector) / largest if largest else 0.0


def _direction(matrix: np.ndarray, orbital: np.ndarray | int | None, carrier: str) -> np.ndarray:
    n = len(matrix)
    if orbital is None:
        # eigenvalues ascend: an electron goes where the shell is emptiest, a hole where it is fullest
        vector = np.linalg.eigh(matrix)[1][:, 0 if carrier == "electron" else -1]
        return _fixed_sign(vector)
    if np.ndim(orbital) == 0:
        if not 0 <= int(orbital) < n:  # type: ignore[arg-type]
            names = ", ".join(f"{i} {name}" for i, name in enumerate(ORBITALS[(n - 1) // 2]))
            raise VaspError(f"orbital = {orbital}: this shell has {names}")
        return np.eye(n)[int(orbital)]  # type: ignore[arg-type]
    vector = np.asarray(orbital, dtype=float)
    if vector.shape != (n,) or not np.linalg.norm(vector) > 0:
        raise VaspError(f"orbital has shape {vector.shape}: this shell needs {n} components, not all zero")
    return vector / np.linalg.norm(vector)


def _fixed_sign(vector: np.ndarray) -> np.ndarray:
    return vector * np.sign(vector[np.argmax(np.abs(vector))])


def _checked(atom: int, angular: int, matrix: np.ndarray) -> np.ndarray:
    matrix, n = np.asarray(matrix, dtype=float), 2 * angular + 1
    if angular not in ORBITALS or matrix.shape != (n, n):
        raise VaspError(
            f"occupations of atom {atom}: shape {matrix.shape} with l = {angular}, expected {(n, n)}, l 0 to 3"
        )
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 2:
        raise VaspError(
            f"occupations of atom {atom}: largest entry {np.abs(matrix).max():g}; an occupation lies between 0 and 1 "
            "(up to 2 with PAW artefacts): harvest them from a run with sound ones"
        )
    return matrix


class _Lines:
    """Lines read the way list-directed Fortran READ does: numbers may run over lines, blank ones are passed over."""

    def __init__(self, lines: list[str], path: str):
        self.lines, self.path, self.at = lines, path, 0

    def skip(self, what: str) -> None:
        if self.at >= len(self.lines):
            raise VaspError(f"{self.path} ends before {what}: add a blank line after every atom, also the last")
        self.at += 1

    def numbers(self, n: int, kind: type = float) -> list:
        found: list = []
        while len(found) < n:
            if self.at >= len(self.lines):
                raise VaspError(f"{self.path} ends where {n} numbers should stand")
            for word in self.lines[self.at].replace(",", " ").split()[: n - len(found)]:
                try:
                    found.append(kind(word))
                except ValueError:
                    raise VaspError(
                        f"{self.path} line {self.at + 1}: {word!r} where {n} numbers should stand; "
                        "separate columns that touch, and leave one line after every atom"
                    ) from None
            self.at += 1
        return found
