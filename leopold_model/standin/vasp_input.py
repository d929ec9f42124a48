"""VASP's input files as VASP reads them: INCAR, POSCAR, KPOINTS, POTCAR, and the OCCMATRIX of patched VASP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class InputError(Exception):
    """Input on which the run stops before its first step; the message names file, value and remedy."""


# ---------------------------------------------------------------------------------------------------------------- INCAR


class Incar(dict[str, str]):
    """Upper-case tag -> value as text, in the order of the file; the getters convert as Fortran would."""

    def word(self, tag: str, default: str) -> str:
        return self[tag].split()[0] if self.get(tag) else default

    def logical(self, tag: str, default: bool) -> bool:
        text = self.word(tag, "T" if default else "F").lstrip(".").upper()
        if text[:1] not in ("T", "F"):
            raise InputError(f"INCAR: {tag} = {self[tag]} is no logical; write .TRUE. or .FALSE.")
        return text[0] == "T"

    def integer(self, tag: str, default: int) -> int:
        try:
            return int(self.word(tag, str(default)))
        except ValueError:
            raise InputError(f"INCAR: {tag} = {self[tag]} is no integer") from None

    def real(self, tag: str, default: float) -> float:
        return self.reals(tag, [default])[0]

    def reals(self, tag: str, default: list[float], count: int | None = None) -> list[float]:
        """Numbers of a list, `N*x` expanded; with `count`, at least so many are wanted and the rest is ignored."""
        if not self.get(tag):
            return default
        values: list[float] = []
        for times, text in re.findall(r"(?:(\d+)\s*\*\s*)?(\S+)", self[tag]):
            try:
                values += [float(re.sub("[dD]", "e", text))] * int(times or 1)
            except ValueError:
                if values:
                    break  # VASP stops reading at the first word that is no number
                raise InputError(f"INCAR: {tag} = {self[tag]} holds no number") from None
        if count is not None and len(values) < count:
            raise InputError(f"INCAR: {tag} has {len(values)} values, needs {count}: {tag} = {self[tag]}")
        return values if count is None else values[:count]


def parse_incar(text: str) -> Incar:
    """Tags of an INCAR: `#` and `!` comments, `;` between statements, a trailing `\\` and quotes continue a line.

    The first of two equal tags counts, as in VASP.
    """
    text = re.sub(r'"([^"]*)"', lambda match: match.group(1).replace("\n", "\x00"), text)
    text = re.sub(r"[#!][^\n\x00]*", "", text)
    text = re.sub(r"\\[ \t\r]*\n", " ", text)
    incar = Incar()
    for statement in re.split(r"[\n;]", text):
        tag, equals, value = statement.partition("=")
        if equals and tag.split():
            incar.setdefault(tag.split()[-1].upper(), " ".join(value.replace("\x00", " ").split()))
    return incar


# --------------------------------------------------------------------------------------------------------------- POSCAR


@dataclass(frozen=True)
class Poscar:
    """A structure: `counts` atoms of each `types` entry, in file order.

    `cell` (3, 3) Angstrom, `fractional` (n, 3), `velocities` (n, 3) Angstrom/fs or None, `free` (n, 3) False where
    selective dynamics holds a coordinate. `names` are the headings as written, suffixes kept; `types` the elements.
    """

    comment: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    counts: tuple[int, ...]
    cell: np.ndarray
    fractional: np.ndarray
    velocities: np.ndarray | None
    free: np.ndarray

    @property
    def symbols(self) -> list[str]:
        return [t for t, n in zip(self.types, self.counts, strict=True) for _ in range(n)]


def parse_poscar(text: str) -> Poscar:
    """A POSCAR of VASP 5 or 6; headings like `Mg1`, `Ti_pv` or `O/0a1b` name the element before the suffix."""
    lines = text.splitlines()
    try:
        return _poscar(lines)
    except (ValueError, IndexError) as error:
        raise InputError(f"POSCAR cannot be read ({error}); it has {len(lines)} lines") from None


def _poscar(lines: list[str]) -> Poscar:
    scale = [float(x) for x in lines[1].split()[:3] if _is_number(x)]
    cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
    if len(scale) == 1 and scale[0] < 0:
        scale = [(-scale[0] / abs(np.linalg.det(cell))) ** (1 / 3)]
    factor = np.array(scale if len(scale) == 3 else scale[:1] * 3)
    cell = cell * factor
    if abs(np.linalg.det(cell)) < 1e-6:
        raise InputError("POSCAR: the lattice vectors span no volume")
    names = tuple(lines[5].split())
    if names and names[0].isdigit():
        raise InputError("POSCAR: line 6 must name the species (VASP 5 format), e.g. 'Mg O'")
    counts = tuple(int(x) for x in lines[6].split() if x.isdigit())
    if len(counts) != len(names):
        raise InputError(f"POSCAR: {len(names)} species on line 6 but {len(counts)} counts on line 7")
    types = tuple(_element(name) for name in names)
    cursor, n = 7, sum(counts)
    selective = lines[cursor].strip()[:1] in ("s", "S")
    cursor += selective
    cartesian = lines[cursor].strip()[:1] in ("c", "C", "k", "K")
    rows = [line.split() for line in lines[cursor + 1 : cursor + 1 + n]]
    if len(rows) < n:
        raise InputError(f"POSCAR: {n} atoms announced on line 7, {len(rows)} positions found")
    coordinates = np.array([[float(x) for x in row[:3]] for row in rows])
    free = np.ones((n, 3), dtype=bool)
    if selective:
        free = np.array([[flag.lstrip(".")[:1] in ("t", "T") for flag in row[3:6]] for row in rows])
    fractional = np.linalg.solve(cell.T, (coordinates * factor).T).T if cartesian else coordinates
    cursor += 1 + n
    return Poscar(
        comment=lines[0].strip(),
        names=names,
        types=types,
        counts=counts,
        cell=cell,
        fractional=fractional,
        velocities=_velocities(lines[cursor:], n, cell),
        free=free,
    )


def _velocities(lines: list[str], n: int, cell: np.ndarray) -> np.ndarray | None:
    """Velocities after the positions, in Angstrom/fs; under the heading 'Direct' in lattice vectors per fs."""
    if not any(line.strip() for line in lines):
        return None
    if len(lines) < n + 1:
        raise InputError(f"POSCAR: the block after the positions has {len(lines) - 1} lines, {n} velocities expected")
    velocities = np.array([[float(re.sub("[dD]", "e", x)) for x in line.split()[:3]] for line in lines[1 : n + 1]])
    if velocities.shape != (n, 3):
        raise InputError("POSCAR: every velocity needs three components")
    return velocities @ cell if lines[0].strip()[:1] in ("d", "D") else velocities


def _element(name: str) -> str:
    match = re.match(r"[A-Z][a-z]?", name)
    if not match:
        raise InputError(f"POSCAR: species {name!r} does not begin with an element symbol")
    return match.group()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------------------------------- KPOINTS and POTCAR


@dataclass(frozen=True)
class Kpoints:
    """What KPOINTS asks for: the mesh (or the number of listed points); the model itself has Gamma only."""

    comment: str
    divisions: tuple[int, int, int]
    points: int


def parse_kpoints(text: str) -> Kpoints:
    """The mesh of a KPOINTS file; InputError where it cannot be read."""
    lines = text.splitlines()
    try:
        count = int(lines[1].split()[0])
        mode = lines[2].strip()[:1].lower()
        if count or mode not in "gm":
            return Kpoints(lines[0].strip(), (1, 1, 1), max(count, 1))
        a, b, c = (int(x) for x in lines[3].split()[:3])
    except (ValueError, IndexError):
        raise InputError("KPOINTS cannot be read; a Gamma mesh is:\nGamma only\n0\nGamma\n1 1 1\n0 0 0") from None
    return Kpoints(lines[0].strip(), (a, b, c), a * b * c)


@dataclass(frozen=True)
class Potential:
    """One species of POTCAR: `title` (TITEL), `element`, valence electrons, mass in amu and default cutoff in eV."""

    title: str
    element: str
    valence: float
    mass: float
    cutoff: float


def parse_potcar(text: str) -> list[Potential]:
    """Titles and valences of a concatenated POTCAR, one entry per `TITEL`."""
    starts = [match.start() for match in re.finditer(r"^.*TITEL\s*=", text, re.MULTILINE)]
    if not starts:
        raise InputError("POTCAR: no TITEL line found")
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        # POMASS, ZVAL and ENMAX follow their TITEL inside the same dataset
        part = text[start:end]
        title = part.partition("=")[2].splitlines()[0].strip()
        valence = re.search(r"ZVAL\s*=\s*([\d.]+)", part)
        mass = re.search(r"POMASS\s*=\s*([\d.]+)", part)
        cutoff = re.search(r"ENMAX\s*=\s*([\d.]+)", part)
        if not valence or not mass:
            missing = "ZVAL" if not valence else "POMASS"
            raise InputError(f"POTCAR: {title!r} has no {missing}; the number of carriers follows from NELECT and ZVAL")
        words = title.split()
        element = _element(words[1] if len(words) > 1 else words[0])
        found.append(
            Potential(title, element, float(valence[1]), float(mass[1]), float(cutoff[1]) if cutoff else 400.0)
        )
    return found


# ------------------------------------------------------------------------------------------------------------ OCCMATRIX


@dataclass(frozen=True)
class Imposed:
    """An imposed onsite matrix: 0-based `atom`, angular momentum `l`, and (2l+1, 2l+1) matrices per spin."""

    atom: int
    l: int  # noqa: E741
    up: np.ndarray
    down: np.ndarray


def parse_occmatrix(text: str) -> list[Imposed]:
    """OCCMATRIX with the reads of the patched Fortran (Allen and Watson, PCCP 16, 21016 (2014)).

    Every `read(*,*)` skips blank lines until it has its numbers and drops the rest of that line; labels and the line
    after each atom are read as text. A file without the line after its last atom ends in an end-of-file error.
    """
    cursor, lines = 0, text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()  # a final newline ends the last record and begins no new one

    def record(what: str) -> str:
        nonlocal cursor
        if cursor >= len(lines):
            raise InputError(
                f"OCCMATRIX: end of file while reading {what}; every atom, also the last, needs a blank line after it"
            )
        cursor += 1
        return lines[cursor - 1]

    def numbers(count: int, kind: type, what: str) -> list:
        values: list = []
        while len(values) < count:
            try:
                values += [kind(x) for x in record(what).replace(",", " ").split()[: count - len(values)]]
            except ValueError:
                raise InputError(
                    f"OCCMATRIX line {cursor}: {lines[cursor - 1].strip()!r} cannot be read as {what}; "
                    "columns must not touch and a blank line must stand between atoms"
                ) from None
        return values

    imposed = []
    (count,) = numbers(1, int, "the number of atoms")
    for _ in range(count):
        atom, l, spins = numbers(3, int, "atom, l and number of spins")  # noqa: E741
        if atom < 1 or l not in (0, 1, 2, 3) or spins not in (1, 2):
            raise InputError(
                f"OCCMATRIX line {cursor}: atom {atom}, l {l}, spins {spins}: wants atom >= 1, l 0-3, spins 1 or 2"
            )
        blocks = []
        for spin in range(spins):
            record(f"the label of spin {spin + 1}")
            blocks.append(np.array([numbers(2 * l + 1, float, "a matrix row") for _ in range(2 * l + 1)]))
        record(f"the line after atom {atom}")
        down = blocks[1] if spins == 2 else np.zeros_like(blocks[0])
        imposed.append(Imposed(atom - 1, l, blocks[0], down))
    return imposed


def parse_occdir(tag: str, values: list[float]) -> list[Imposed]:
    """One OCCDIRn line: number of atoms, then for each `atom l elements` and `elements` times `i j spin occupation`.

    i and j count orbitals from 1 over all l: 1 s, 2-4 p, 5-9 d, 10-16 f. What is not named is zero.
    """
    numbers = iter(values)
    imposed = []
    try:
        for _ in range(int(next(numbers))):
            atom, l, count = (int(next(numbers)) for _ in range(3))  # noqa: E741
            spins = np.zeros((2, 2 * l + 1, 2 * l + 1))
            for _ in range(count):
                i, j, spin = (int(next(numbers)) for _ in range(3))
                if not (l**2 < min(i, j) and max(i, j) <= (l + 1) ** 2 and spin in (1, 2)):
                    raise InputError(f"INCAR: {tag}: element {i} {j} spin {spin} does not belong to l = {l}")
                spins[spin - 1, i - 1 - l**2, j - 1 - l**2] = next(numbers)
            imposed.append(Imposed(atom - 1, l, *spins))
    except (StopIteration, RuntimeError):
        raise InputError(
            f"INCAR: {tag} ends early; it wants 'atoms, atoms * (atom l n, n * (i j spin occupation))'"
        ) from None
    return imposed


def read_text(directory: Path, name: str) -> str:
    """A file that must be there; InputError where it is not."""
    path = directory / name
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f"{name} is missing or empty in {directory}: a run needs INCAR, POSCAR, KPOINTS and POTCAR")
    return path.read_text()
