"""OUTCAR of VASP 5.2 to 6.x, read once from top to bottom: every ionic step with all a polaron needs.

What the file looks like, and what follows from it:

- The table of site moments comes before the forces and the energy of its step, and once more, unchanged, after the last
  step. Tables belong to the step whose electronic iterations precede them; the repetition is not a step.
- Onsite density matrices are printed in every electronic iteration, and hold the density that went into it. The set of
  the last finished iteration of a step is the step's; it lags the final density by one iteration, which is below the
  printed digits once EDIFF <= 1e-5.
- Numbers in those matrices touch (`11.2215-13.7153`), so they are found by their four decimals, not by blanks.
- A step is complete once its force-consistent energy stands in the file (`free  energy   TOTEN`, two blanks twice); in
  molecular dynamics also the thermostat block, the timing line or the next step. A file may end anywhere: a line
  without its newline is not read.
- VASP 5 prints "EDIFF is reached" even when the electronic steps ran out. Only a step that used all NELM of them is in
  doubt, and there the last two energy changes decide. VASP 6.2 and later say it in words.

Moments and occupations are as printed; `frames` turns the spin axis so that the carrier's spin is positive.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from ase.units import GPa

from leopold_model.vasp.header import Truncated, floats, numbers, read_cell, read_header, rectangle, take
from leopold_model.vasp.run import Run, Step, VaspError, frames, problems

KILOBAR = 0.1 * GPa
_ITERATION = re.compile(rb"Iteration\s*([\d*]+)\(\s*([\d*]+)\)")
_ONSITE = re.compile(rb"atom =\s*(\d+)\s+type =\s*\d+\s+l =\s*(\d)")
_FOUR_DECIMALS = re.compile(rb"-?\d*\.\d{4}|\*+")
_TEMPERATURE = re.compile(rb"temperature\s+(-?[\d.]+|\*+) K")
# the first six characters of every line that means something after the header
_KEYS = frozenset(
    (b"atom =", b"spin c", b"------", b" total", b" numbe", b" magne", b"  in k", b" VOLUM", b" POSIT", b"  free",
     b"  kine", b"  kin.", b"  tota", b"     L", b" Gener")
)  # fmt: skip


def read_outcar(path: str | Path) -> Run:
    """All steps of an OUTCAR (also .gz), complete or not, and what is wrong with it in words."""
    run = Run()
    last = None
    for step in stream_outcar(path, run):
        run.steps.append(step)
        if step.complete:
            if last is not None:
                last.onsite = None
            last = step
    run.problems = problems(run)
    return run


def stream_outcar(path: str | Path, run: Run) -> Iterator[Step]:
    """The steps of an OUTCAR one by one, each with its onsite matrices, in memory that does not grow with the file.

    `run` receives the settings before the first step and `finished` after the last.
    """
    run.path = str(path)
    with open_lines(path) as lines:
        first = read_header(lines, run)
        reader = _StepReader(run)
        try:
            for line in chain((first,), lines):
                if line[:6] in _KEYS and line[-1] == 10:
                    done = reader.read(line, lines)
                    if done is not None:
                        yield done
        except Truncated:
            pass
    last = reader.finish()
    if last is not None:
        yield last


@contextmanager
def open_lines(path: str | Path):
    """The lines of a text file, plain or gzipped; damage in the compression ends the lines as the end of file would."""
    if not Path(path).is_file():
        raise VaspError(f"{path} does not exist: give a run folder, an OUTCAR or a vasprun.xml (also .gz)")
    with open(path, "rb", buffering=1 << 20) as plain:
        if plain.peek(2)[:2] == b"\x1f\x8b":  # type: ignore[attr-defined]
            yield _unzipped(plain)
        else:
            yield iter(plain)


def _unzipped(handle: BinaryIO) -> Iterator[bytes]:
    """Lines of a gzipped file; all that was compressed before a cut comes out (unlike gzip's own)."""
    stream, rest = zlib.decompressobj(31), b""
    while chunk := handle.read(1 << 16):
        try:
            data = stream.decompress(chunk)
            while stream.eof and stream.unused_data:  # files put end to end
                chunk, stream = stream.unused_data, zlib.decompressobj(31)
                data += stream.decompress(chunk)
        except zlib.error:
            break
        lines = io.BytesIO(rest + data).readlines()
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield from lines
    if rest:
        yield rest


class _StepReader:
    """Collects the blocks of one ionic step; `read` returns the step before when a new one begins."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.step: Step | None = None
        self.cell = run.cell  # printed once per step, or only once where the cell is fixed
        self._clear()

    def _clear(self) -> None:
        self.message = b""
        self.changes: list[float] = []
        self.closed = False
        self.pending: dict[tuple[int, int], list[list[bytes]]] = {}  # (atom, l) -> rows per spin, this iteration
        self.onsite: dict[tuple[int, int], list[list[bytes]]] = {}  # the same of the last finished iteration
        self.atom: tuple[int, int] | None = None

    def read(self, line: bytes, lines: Iterator[bytes]) -> Step | None:
        key, step, run = line[:6], self.step, self.run
        if key == b"------":
            if b"Iteration" in line:
                return self._iteration(line)
            if b"aborting loop" in line:
                self.message = line
        elif step is None:
            return None
        elif key == b"atom =":
            match = _ONSITE.match(line)
            self.atom = (int(match[1]) - 1, int(match[2])) if match and not run.noncollinear else None
            if self.atom is not None:
                self.pending[self.atom] = []
        elif key == b"spin c":
            if self.atom is not None:
                first = take(lines, 1)
                if not first[0].strip():
                    first = take(lines, 1)
                self.pending[self.atom].append(first + take(lines, 2 * self.atom[1]))
        elif key == b" total":
            if line.startswith(b" total energy-change"):
                self.changes = floats(line)
                self._iteration_ends()
            elif line.rstrip() == b" total charge" and step.charges is None:
                step.charges, step.charges_by_l = self._table(lines)
        elif key == b" magne":
            if line.startswith(b" magnetization (x)") and step.moments is None and not run.noncollinear:
                step.moments, step.moments_by_l = self._table(lines)
        elif key == b" numbe":
            # two numbers in a spin-polarised run, one otherwise, four in a noncollinear one
            values = floats(line)
            if line.startswith(b" number of electron") and len(values) == 2:
                step.cell_moment = values[1]
        elif key == b"  in k":
            values = floats(line)
            if len(values) == 6:
                xx, yy, zz, xy, yz, zx = (-KILOBAR * v for v in values)
                step.stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        elif key == b" VOLUM":
            self.cell = read_cell(lines)
        elif key == b" POSIT" and b"TOTAL-FORCE" in line:
            table = self._rows(lines, 6)
            if table is not None:
                step.positions, step.forces = table[:, :3], table[:, 3:]
        elif key == b"  free" and line.startswith(b"  free  energy   TOTEN"):
            step.energy = (floats(line) or [float("nan")])[0]
            step.cell = self.cell
        elif key in (b"  kine", b"  kin."):
            match = _TEMPERATURE.search(line)
            if match and match[1][:1] != b"*":
                step.temperature = float(match[1])
        elif key == b"  tota" and b"ETOTAL" in line:
            step.conserved = (floats(line) or [float("nan")])[0]
            self.closed = True
        elif line.startswith(b"     LOOP+"):
            self.closed = True
        elif key == b" Gener":
            run.finished = self.closed = True
        return None

    def _iteration(self, line: bytes) -> Step | None:
        match = _ITERATION.search(line)
        if match is None:
            return None
        self._iteration_ends()
        electronic = int(match[2]) if match[2].isdigit() else 0
        # beyond 99999 the number overflows to stars: then a new step is one whose electronic count starts again
        overflown = self.step.index + (electronic == 1) if self.step else 1
        ionic = int(match[1]) if match[1].isdigit() else overflown
        done = None
        if self.step is None or ionic != self.step.index:
            self.closed = self.step is not None
            done = self.finish()
            self.step = Step(index=ionic)
        self.step.n_electronic = electronic
        return done

    def _iteration_ends(self) -> None:
        if self.pending:
            self.onsite, self.pending, self.atom = self.pending, {}, None

    def _table(self, lines: Iterator[bytes]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A table of spheres: totals (n,) and parts (n, l), whatever the number of columns."""
        for line in chain.from_iterable(take(lines, 1) for _ in range(3)):
            if line.startswith(b"# of ion"):
                break
        else:
            return None, None
        columns = len(line.split()) - 3
        table = self._rows(lines, columns, skip=1)
        return (None, None) if table is None else (table[:, -1], table[:, :-1])

    def _rows(self, lines: Iterator[bytes], columns: int, skip: int = 0) -> np.ndarray | None:
        """One row per atom after a rule, up to the next rule or an empty line, without the `skip` first columns."""
        take(lines, 1)
        rows = []
        while (line := take(lines, 1)[0]).strip(b" -\n\r"):
            rows.append(b" ".join(line.split()[skip:]))
        if not self.run.counts:
            self.run.counts = [len(rows)]  # the head of the file is missing
        return rectangle(rows, columns) if len(rows) == self.run.n_atoms else None

    def finish(self) -> Step | None:
        """The step collected so far, judged; None before the first."""
        step, run = self.step, self.run
        if step is None:
            return None
        step.complete = bool(np.isfinite(step.energy)) and (run.ibrion != 0 or self.closed)
        if step.complete:
            self._iteration_ends()
        step.converged = step.complete and self._converged(step)
        if self.onsite:
            self._occupations(step)
        self.step = None
        self._clear()
        return step

    def _converged(self, step: Step) -> bool:
        if b"not reached" in self.message or b"hard stop" in self.message:
            return False
        if step.n_electronic < self.run.nelm or says_unconverged(self.run.version):
            return True
        return len(self.changes) == 2 and max(abs(c) for c in self.changes) < self.run.ediff

    def _occupations(self, step: Step) -> None:
        step.onsite = {}
        step.occupations = np.zeros((self.run.n_atoms, 2))
        unphysical: list[int] = []
        for shell in {shell for _, shell in self.onsite}:
            n = 2 * shell + 1
            words = {
                atom: _FOUR_DECIMALS.findall(b" ".join(chain.from_iterable(spins)))
                for (atom, its_shell), spins in self.onsite.items()
                if its_shell == shell and atom < self.run.n_atoms
            }
            words = {atom: found for atom, found in words.items() if len(found) == 2 * n * n}
            if not words:
                continue
            atoms = np.array(list(words))
            matrices = numbers(chain.from_iterable(words.values())).reshape(-1, 2, n, n)
            traces = np.trace(matrices, axis1=2, axis2=3).round(4)  # the printed digits
            step.occupations[atoms] = traces
            step.onsite |= {int(a): (shell, up, down) for a, (up, down) in zip(atoms, matrices, strict=True)}
            sound = ((traces > -0.2) & (traces < n + 0.2)).all(axis=1) & (np.abs(matrices) <= 2).all(axis=(1, 2, 3))
            unphysical += atoms[~sound].tolist()
        step.unphysical = tuple(sorted(unphysical))


def says_unconverged(version: str) -> bool:
    """Whether this VASP prints in words that the electronic loop did not converge (6.2 and later)."""
    parts = re.findall(r"\d+", version)[:2]
    return tuple(int(p) for p in parts) >= (6, 2) if len(parts) == 2 else False


__all__ = ["Run", "Step", "VaspError", "frames", "open_lines", "read_outcar", "stream_outcar"]
