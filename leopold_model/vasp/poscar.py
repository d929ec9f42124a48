"""POSCAR with velocities out, CONTCAR with velocities in, and MAGMOM in the same order of sites.

Sites keep their order: consecutive atoms of one species make one block, and a species that comes back makes another
(VASP then wants its POTCAR again). Velocities are Cartesian in Angstrom/fs, as VASP writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from leopold_model.vasp.header import MAX_ATOMS, possible
from leopold_model.vasp.run import VaspError


def blocks(symbols: Sequence[str]) -> list[tuple[str, int]]:
    """Species blocks (symbol, count) in the order of POSCAR; POTCAR and the LDAU tags follow the same list."""
    return [(symbol, len(list(group))) for symbol, group in groupby(symbols)]


def write_poscar(
    path: str | Path, atoms: Atoms, velocities: np.ndarray | None = None, free: np.ndarray | None = None
) -> None:
    """Write `atoms` (site order kept, all digits) with `velocities` (n, 3) in Angstrom/fs if given; where `free` (n, 3)
    is given, selective dynamics holds the coordinates that are false."""
    flags = None if free is None else [" ".join("T" if f else "F" for f in row) for row in free]
    order = blocks(atoms.get_chemical_symbols())
    lines = [
        " ".join(f"{symbol}{count}" for symbol, count in order),
        "  1.0",
        *_rows(atoms.cell.array),
        " ".join(symbol for symbol, _ in order),
        " ".join(str(count) for _, count in order),
        *(["Selective dynamics"] if flags else []),
        "Direct",
        *_rows(atoms.get_scaled_positions(wrap=False), flags),
    ]
    if velocities is not None:
        velocities = np.asarray(velocities, dtype=float)
        if velocities.shape != (len(atoms), 3) or not np.isfinite(velocities).all():
            raise VaspError(
                f"velocities have shape {velocities.shape}: expected {(len(atoms), 3)} finite values in Angstrom/fs"
            )
        # an empty line says Cartesian, as in CONTCAR; pymatgen takes nothing else
        lines += ["", *(" ".join(f"{v:24.16e}" for v in row) for row in velocities)]
    Path(path).write_text("\n".join(lines) + "\n")


def read_poscar(path: str | Path) -> tuple[Atoms, np.ndarray | None]:
    """Atoms and velocities (n, 3) in Angstrom/fs (None if the file has none) of a POSCAR or CONTCAR of VASP 5 or 6."""
    try:
        return _read(iter(Path(path).read_text(errors="replace").splitlines()))
    except (StopIteration, IndexError):
        raise VaspError(f"{path} ends too early: it was cut while it was written; use the last whole one") from None
    except VaspError as error:
        raise VaspError(f"{path}: {error}") from None
    except (ValueError, ArithmeticError) as error:
        raise VaspError(f"{path}: {error}; expected a POSCAR of VASP 5 or 6 with a line of species") from None


def _read(lines: Iterator[str]) -> tuple[Atoms, np.ndarray | None]:
    next(lines)
    scale = [float(w) for w in next(lines).split()[:3] if re.fullmatch(r"[-+.\dEe]+", w)]
    cell = _numbers(lines, 3)
    species = next(lines).split()
    if species and species[0].isdigit():
        raise VaspError("no line of species above the counts (VASP 4 format): add it")
    # VASP 6 may append the POTCAR's name or hash: Ti_sv, Ti/1a2b3c
    species = [re.split(r"[_/]", s)[0] for s in species]
    unknown = [s for s in species if s not in atomic_numbers]
    if unknown:
        raise VaspError(f"species {unknown[0]!r} is no element: name the blocks by chemical symbols")
    counts = [int(w) for w in next(lines).split()[: len(species)]]
    if not possible(counts):
        raise VaspError(f"counts {counts}: no number of atoms that a cell can have")
    symbols = [s for s, n in zip(species, counts, strict=True) for _ in range(n)]
    mode = next(lines).strip()[:1].lower()
    if mode == "s":  # selective dynamics
        mode = next(lines).strip()[:1].lower()
    if len(scale) not in (1, 3) or 0.0 in scale:
        raise VaspError(f"scale factor {scale}: give one number or three")
    # a negative scale is the volume wanted
    factor = np.array(scale) if scale[0] > 0 else (-scale[0] / abs(np.linalg.det(cell))) ** (1 / 3)
    cell = cell * factor
    positions = _numbers(lines, len(symbols))
    positions = positions * factor if mode in ("c", "k") else positions @ cell
    return Atoms(symbols, positions=positions, cell=cell, pbc=True), _velocities(lines, len(symbols))


def _velocities(lines: Iterator[str], n: int) -> np.ndarray | None:
    mode = next(lines, None)
    if mode is not None and mode.strip().lower().startswith("lattice"):
        for _ in range(7):  # a line of state, three lattice velocities, three lattice vectors
            next(lines)
        mode = next(lines, None)
    if mode is None:
        return None
    mode = mode.strip()[:1].lower()
    if mode not in ("", "c", "k"):
        raise VaspError("velocities in direct coordinates depend on POTIM: write them in Cartesian ones (Angstrom/fs)")
    first = next(lines, "")
    if not first.strip():  # only blank lines follow
        return None
    return np.concatenate([_row(first)[None], _numbers(lines, n - 1).reshape(-1, 3)])


def magmom_tag(moments: Sequence[float]) -> str:
    """MAGMOM in VASP's short notation, `25*0 1 70*0`, one value per site in POSCAR order, three decimals."""
    words = (f"{round(float(m), 3) + 0.0:g}" for m in moments)
    runs = ((word, len(list(group))) for word, group in groupby(words))
    return " ".join(word if count == 1 else f"{count}*{word}" for word, count in runs)


def read_magmom(tag: str | Sequence) -> list[float]:
    """The moments per site behind MAGMOM given as a list or in VASP's notation `25*0 1 70*0`."""
    moments: list[float] = []
    for word in tag.split() if isinstance(tag, str) else tag:
        count, _, value = str(word).rpartition("*")
        try:
            moments += [float(value)] * min(int(count) if count else 1, MAX_ATOMS)
        except ValueError:
            raise VaspError(f"MAGMOM: {word!r} is neither a number nor count*number") from None
    return moments


def _rows(array: np.ndarray, flags: Sequence[str] | None = None) -> list[str]:
    rows = ["  ".join(f"{v:21.16f}" for v in row) for row in array]
    return rows if flags is None else [f"{row}  {flag}" for row, flag in zip(rows, flags, strict=True)]


def _row(line: str) -> np.ndarray:
    return np.array([float(w) for w in line.split()[:3]])


def _numbers(lines: Iterator[str], n: int) -> np.ndarray:
    rows = [_row(next(lines)) for _ in range(n)]
    if any(len(row) != 3 for row in rows):
        raise VaspError("a row has fewer than three numbers")
    return np.array(rows)
