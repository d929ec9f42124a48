"""What VASP resolved its input to, read from the part of OUTCAR before the first electronic iteration.

VASP 6 echoes INCAR at the top and prints the resolved values further down, so the last occurrence of a tag is the one
the run used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from ase.data import atomic_numbers

_TAG = re.compile(rb"\b([A-Z]+)\s*=\s*([^\s;]+)")
_CONTINUED = re.compile(rb"\s+[-\d][-\d. ]*\r?\n")
_REAL = re.compile(rb"-?\d*\.\d+(?:[EeDd][+-]?\d+)?|\*+")
_NINE_DECIMALS = re.compile(rb"-?\d*\.\d{9}|\*{13}")
_FOUND = re.compile(rb"\b(OCCDIR\d+|OCCEXT)\s+found")
_IMPOSED = re.compile(rb"\bATOM\s+(\d+)\s+Spin")
MAX_ATOMS = 1_000_000  # of a cell; a damaged or hostile file may say anything
_SPECIES_ROWS = {b"ions per type =": "counts", b"LDAUL =": "ldau_l", b"LDAUU =": "ldau_u", b"LDAUJ =": "ldau_j"}


@dataclass(frozen=True)
class OccBanner:
    """What a patched VASP says about occupation matrix control.

    The title alone proves nothing: a patched executable prints it in every DFT+U run. Control was in force only if the
    tag was found and at least one atom (0-based here) is listed.
    """

    tags: tuple[str, ...] = ()
    atoms: tuple[int, ...] = ()

    @property
    def imposed(self) -> bool:
        """Whether occupations were really imposed in this run."""
        return bool(self.tags and self.atoms)


@dataclass
class Header:
    """Resolved settings of a run; `symbols` per atom, `counts`, `ldau_*` and `valences` per species in file order.

    `nelect` is the electron count of the run, `neutral` that of the neutral cell (the sum of the POTCAR valences);
    both are None where the file was cut before they were printed. `cell` (3, 3) Angstrom is the one at the start.
    `force_field` says that VASP's machine-learned force field (ML_LMLFF) was at work.
    """

    version: str = ""
    symbols: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    valences: list[float] = field(default_factory=list)
    ldau_l: list[int] = field(default_factory=list)
    ldau_u: list[float] = field(default_factory=list)
    ldau_j: list[float] = field(default_factory=list)
    ispin: int = 1
    noncollinear: bool = False
    lorbit: int = 0
    nwrite: int = 2
    nelm: int = 60
    ediff: float = 1e-4
    ibrion: int = -1
    nsw: int = 0
    potim: float = 0.0
    tebeg: float | None = None
    teend: float | None = None
    isym: int = 1
    isif: int = 2
    encut: float = 0.0
    nelect: float | None = None
    occ_banner: OccBanner | None = None
    force_field: bool = False
    cell: np.ndarray | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return sum(self.counts)

    @property
    def neutral(self) -> float | None:
        """Electrons of the neutral cell."""
        if not self.counts or len(self.valences) != len(self.counts):
            return None
        return sum(n * z for n, z in zip(self.counts, self.valences, strict=True))

    @property
    def excess_electrons(self) -> int | None:
        """NELECT minus the neutral cell's electrons: 1 for an added electron, -1 for a hole, None if unknown."""
        if self.nelect is None or self.neutral is None:
            return None
        return round(self.nelect - self.neutral)


_NUMBERS = {
    "ISPIN": int, "LORBIT": int, "NWRITE": int, "NELM": int, "IBRION": int, "NSW": int, "ISYM": int, "ISIF": int,
    "EDIFF": float, "POTIM": float, "ENCUT": float, "NELECT": float, "TEBEG": float, "TEEND": float,
}  # fmt: skip


def read_header(lines: Iterator[bytes], header: Header) -> bytes:
    """Fill `header` from `lines` up to the first `Iteration` line, which is returned (empty if there is none)."""
    tags: dict[str, str] = {}
    rows: dict[str, bytes] = {}
    row = ""  # the row of numbers that the next line may continue
    titles: list[str] = []
    contents: list[str] = []
    occ_tags: list[str] = []
    occ_atoms: list[int] = []
    occ_title = False
    end = b""
    for line in lines:
        if line.startswith(b"------") and b" Iteration " in line:
            end = line
            break
        if line.startswith(b" VOLUME and BASIS-vectors"):
            try:
                header.cell = read_cell(lines)
            except Truncated:
                break
            continue
        if row and _CONTINUED.fullmatch(line):
            rows[row] += line
            continue
        row = ""
        if b"=" in line:
            for label, name in _SPECIES_ROWS.items():
                if label in line:
                    row, rows[name] = name, line.split(label)[1]
            if line.startswith(b"   ZVAL   ="):
                row, rows["valences"] = "valences", line.split(b"=")[1]
            elif b"VRHFIN" in line:
                contents.append(line.split(b"=")[1].decode("ascii", "replace"))
            elif line.startswith(b"  free  energy ML TOTEN"):
                header.force_field = True
            tags |= {k.decode(): v.decode("ascii", "replace") for k, v in _TAG.findall(line)}
        elif b"POTCAR:" in line:
            titles.append(line.split(b"POTCAR:")[1].decode("ascii", "replace"))
        elif line.lstrip().startswith(b"vasp.") and not header.version:
            header.version = line.split(b"vasp.")[1].partition(b" ")[0].strip().decode("ascii", "replace")
        elif b"Occupation set for the following atoms" in line:
            occ_title = True
        elif b"OCC" in line or b"ATOM" in line:
            occ_tags += [tag.decode() for tag in _FOUND.findall(line)]
            occ_atoms += [int(n) - 1 for n in _IMPOSED.findall(line)]

    for name, convert in _NUMBERS.items():
        value = _number(tags.get(name, ""), convert)
        if value is not None:
            setattr(header, name.lower(), value)
    header.noncollinear = tags.get("LNONCOLLINEAR", "F") == "T"
    n_atoms = _number(tags.get("NIONS", ""), int)
    header.counts = _counts(rows.get("counts", b""), n_atoms)
    for name, convert in (("valences", float), ("ldau_l", int), ("ldau_u", float), ("ldau_j", float)):
        values = [_number(text, convert) for text in rows.get(name, b"").decode("ascii", "replace").split()]
        if None not in values:
            setattr(header, name, values)
    # the list of POTCARs is printed once in short and once with its content: the first n are the n species
    species = [_element(title) for title in titles[: len(header.counts)]]
    if "X" in species and len(contents) >= len(species):
        species = [_element(content.split(":")[0]) for content in contents[: len(species)]]
    if species and len(species) == len(header.counts):
        header.symbols = [s for s, n in zip(species, header.counts, strict=True) for _ in range(n)]
    if n_atoms and not header.counts and possible([n_atoms]):
        header.counts = [n_atoms]  # of unknown kinds
    if occ_title or occ_tags:
        header.occ_banner = OccBanner(tuple(dict.fromkeys(occ_tags)), tuple(dict.fromkeys(occ_atoms)))
    return end


def _counts(row: bytes, n_atoms: int | None) -> list[int]:
    """Atoms per species. From 1000 on the columns (I4) touch; NIONS tells whether they were parted rightly, and if they
    cannot be, there is no telling."""
    text = row.decode("ascii", "replace").rstrip()
    for words in (text.split(), [text[max(i - 4, 0) : i] for i in range(len(text), 0, -4)][::-1]):
        counts = [_number(word, int) for word in words if word.strip()]
        known = [n for n in counts if n is not None]
        if counts and known == counts and possible(known) and n_atoms in (None, sum(known)):
            return known
    return []


def possible(counts: Iterable[int]) -> bool:
    """Whether these can be the atoms of each species in a cell."""
    counts = list(counts)
    return all(n > 0 for n in counts) and sum(counts) <= MAX_ATOMS


class Truncated(Exception):
    """The file ended inside a block."""


def take(lines: Iterator[bytes], n: int) -> list[bytes]:
    """The next `n` whole lines; raises Truncated if there are fewer or the last lacks its newline."""
    taken = list(islice(lines, n))
    if len(taken) < n or (taken and not taken[-1].endswith(b"\n")):
        raise Truncated
    return taken


def numbers(words: Iterable[bytes]) -> np.ndarray:
    """Printed numbers as an array; overflown ones (****) are NaN."""
    words = list(words)
    try:
        return np.array(list(map(float, words)))
    except ValueError:
        return np.array([float("nan") if w[:1] == b"*" else float(w.upper().replace(b"D", b"E")) for w in words])


def floats(text: bytes) -> list[float]:
    """Every number printed with a decimal point; overflown ones (****) are NaN."""
    return numbers(_REAL.findall(text)).tolist()


def rectangle(rows: list[bytes], columns: int) -> np.ndarray | None:
    """Rows of `columns` numbers as an array (n, columns); None if they are not."""
    try:
        table = np.array(list(map(float, b" ".join(rows).split())))
    except ValueError:  # stars, or columns that touch
        values = [floats(row) for row in rows]
        return np.array(values) if all(len(v) == columns for v in values) else None
    return table.reshape(-1, columns) if table.size == columns * len(rows) else None


def read_cell(lines: Iterator[bytes]) -> np.ndarray | None:
    """The direct lattice vectors (3, 3) after a `VOLUME and BASIS-vectors` line."""
    for _ in range(4):
        if b"direct lattice vectors" in take(lines, 1)[0]:
            break
    else:
        return None
    # 13 wide with nine decimals, so that columns touch from -10 and from 100 Angstrom on
    rows = [_NINE_DECIMALS.findall(row) or _REAL.findall(row) for row in take(lines, 3)]
    vectors = [numbers(row[:3]).tolist() for row in rows]
    return np.array(vectors) if all(len(v) == 3 and np.isfinite(v).all() for v in vectors) else None


def _number(text: str, convert):
    try:
        return convert(float(text)) if convert is int else convert(text)
    except (ValueError, OverflowError):
        return None


def _element(title: str) -> str:
    """The element in a POTCAR title such as `PAW_PBE Ti_sv 26Sep2005`; 'X' if there is none."""
    for word in title.split():
        symbol = re.match(r"[A-Za-z]+", word.split("_")[0])
        if symbol and symbol.group() in atomic_numbers:
            return symbol.group()
    return "X"
