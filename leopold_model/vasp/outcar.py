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
- What follows that energy is not the step's, but for the thermostat: linear response iterates again under the same
  number, and a run with a machine-learned force field (ML_LMLFF) prints stress, forces and energy of that before the
  electronic iterations of the next step, or instead of them. Steps without electronic iterations are left out.
- Files of restarts may have been put end to end; their steps are numbered on.
- VASP 5 prints "EDIFF is reached" even when the electronic steps ran out. Only a step that used all NELM of them is in
  doubt, and there the last two energy changes decide. VASP 6.2 and later say it in words.

Moments and occupations are as printed; `frames` turns the spin axis so that the carrier's spin is positive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from ase.units import GPa

from leopold_model.vasp.header import Header, Truncated, floats, numbers, read_cell, read_header, rectangle, take
from leopold_model.vasp.lines import open_lines
from leopold_model.vasp.run import Run, Step, VaspError, frames, problems
from leopold_model.vasp.spheres import occupations_from_spheres

KILOBAR = 0.1 * GPa
_ITERATION = re.compile(rb"Iteration\s*([\d*]+)\(\s*([\d*]+)\)")
_ONSITE = re.compile(rb"atom =\s*(\d+|\*+)\s+type =.*l =\s*(\d)")
_FOUR_DECIMALS = re.compile(rb"-?\d*\.\d{4}|\*{8}")
_TEMPERATURE = re.compile(rb"temperature\s+(-?\d+\.?\d*) K")
_THERMOSTAT = re.compile(rb"\b(EKIN|EKIN_LAT|ES|EPS|ETOTAL)\s*=\s*(-?\d+\.?\d*)")
_ENERGIES = {
    b"EKIN": "kinetic", b"EKIN_LAT": "kinetic_lattice", b"ES": "thermostat_potential", b"EPS": "thermostat_kinetic",
    b"ETOTAL": "conserved",
}  # fmt: skip
# the first six characters of every line that means something after the header
_KEYS = frozenset(
    (b"atom =", b"spin c", b"------", b" total", b" numbe", b" magne", b"  in k", b" VOLUM", b" POSIT", b"  free",
     b"  kine", b"  kin.", b"  nose", b"  tota", b"     L", b" Gener", b" vasp.")
)  # fmt: skip


def read_outcar(path: str | Path) -> Run:
    """All steps of an OUTCAR, plain or compressed, complete or not, and what is wrong with it in words."""
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
                    if line[:6] == b" vasp.":
                        done, line = reader.finish(), reader.next_run(line, lines)
                        if done is not None:
                            yield done
                        if not line:
                            break
                    done = reader.read(line, lines)
                    if done is not None:
                        yield done
        except Truncated:
            pass
    last = reader.finish()
    if last is not None:
        yield last


class _StepReader:
    """Collects the blocks of one ionic step; `read` returns the step before when a new one begins."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.step: Step | None = None
        self.number = 0  # VASP's own, of the last step begun
        self.offset = 0  # steps of the runs before, in a file of several
        self.n_complete = 0
        self.n_onsite = 0  # atoms in an onsite set
        self.cell = run.cell  # printed in every step, but for those that NWRITE = 0 leaves out
        self._clear()

    def _clear(self) -> None:
        self.message = b""
        self.changes: list[float] = []
        self.sealed = False  # the energy stands there: what follows is not of this step, but for the thermostat
        self.closed = False
        self.pending: dict[tuple[int, int], list[list[bytes]]] = {}  # (atom, l) -> rows per spin, this iteration
        self.onsite: dict[tuple[int, int], list[list[bytes]]] = {}  # the same of the last finished iteration
        self.atom: tuple[int, int] | None = None

    def next_run(self, title: bytes, lines: Iterator[bytes]) -> bytes:
        """Take over the settings of the run that begins with `title`; its first `Iteration` line, empty if none."""
        run, header = self.run, Header()
        first = read_header(chain((title,), lines), header)
        run.finished = False
        if not first or header.counts != run.counts:
            run.other_atoms = bool(first)
            return b""
        header.force_field |= run.force_field
        vars(run).update(vars(header))
        run.n_runs += 1
        self.offset, self.number, self.n_complete, self.n_onsite = self.offset + self.number, 0, 0, 0
        self.cell = run.cell
        return first

    def read(self, line: bytes, lines: Iterator[bytes]) -> Step | None:
        key, step, run = line[:6], self.step, self.run
        if key == b"------":
            if b"Iteration" in line:
                return self._iteration(line)
            if b"aborting loop" in line and not self.sealed:
                self.message = line
        elif key == b" Gener":
            run.finished = self.closed = True
        elif step is None:
            return None
        elif key == b" total" and not line.startswith(b" total energy-change"):
            if line.rstrip() == b" total charge" and step.charges is None:
                step.charges, step.charges_by_l = self._table(lines)
        elif key == b" magne":
            if line.startswith(b" magnetization (x)") and step.moments is None and not run.noncollinear:
                step.moments, step.moments_by_l = self._table(lines)
        elif self.sealed:
            return self._behind(line, step)
        elif key == b"atom =":
            self.atom = None if run.noncollinear else self._onsite_atom(line)
            if self.atom is not None:
                self.pending[self.atom] = []
        elif key == b"spin c":
            if self.atom is not None:
                rows = take(lines, 2 * self.atom[1] + 2)  # the matrix, and an empty line before or after it
                self.pending[self.atom].append(rows[1:] if not rows[0].strip() else rows[:-1])
        elif key == b" total":
            self.changes = floats(line)
            self._iteration_ends()
        elif key == b" numbe":
            # two numbers in a spin-polarised run, one otherwise, four in a noncollinear one
            values = floats(line)
            if line.startswith(b" number of electron") and len(values) == 2 and np.isfinite(values[1]):
                step.cell_moment = values[1]
        elif key == b"  in k":
            values = floats(line)
            if len(values) == 6 and np.isfinite(values).all():
                xx, yy, zz, xy, yz, zx = (-KILOBAR * v for v in values)
                step.stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        elif key == b" VOLUM":
            self.cell = read_cell(lines)
        elif key == b" POSIT" and b"TOTAL-FORCE" in line and b"(ML)" not in line:
            table = self._rows(lines, 6)
            if table is not None:
                # a coordinate or a force that overflows its column (****) leaves none of that kind
                positions, forces = table[:, :3], table[:, 3:]
                step.positions = positions if np.isfinite(positions).all() else None
                step.forces = forces if np.isfinite(forces).all() else None
        elif line.startswith(b"  free  energy   TOTEN"):
            step.energy = (floats(line) or [float("nan")])[0]
            step.cell, self.sealed = self.cell, True
            if run.isif > 2:
                self.cell = None  # the next step has another
        return None

    def _behind(self, line: bytes, step: Step) -> Step | None:
        """A line after the energy of `step`; returns it where a step of the force field begins."""
        key = line[:6]
        if key in (b"  kine", b"  kin.", b"  nose", b"  tota"):
            temperature, energy = _TEMPERATURE.search(line), _THERMOSTAT.search(line)
            if temperature:
                step.temperature = float(temperature[1])
            if energy:
                setattr(step, _ENERGIES[energy[1]], float(energy[2]))
            self.closed = self.closed or b"ETOTAL" in line
        elif line.startswith(b"     LOOP+"):
            self.closed = True
        elif line.startswith(b"  free  energy ML TOTEN"):
            self.run.force_field = True
            return self.finish() if self.closed else None
        return None

    def _iteration(self, line: bytes) -> Step | None:
        match = _ITERATION.search(line)
        if match is None:
            return None
        electronic = int(match[2]) if match[2].isdigit() else 0
        # beyond 99999 the number overflows to stars: then a new step is one whose electronic count starts again
        ionic = int(match[1]) if match[1].isdigit() else self.number + (electronic == 1)
        same = self.step if ionic == self.number else None
        if same is not None and self.sealed:
            return None
        self._iteration_ends()
        # a run that follows without its head counts from 1 again
        again = ionic < self.number or (same is not None and 0 < electronic <= same.n_electronic)
        if same is not None and not again:
            same.n_electronic = electronic
            return None
        self.closed = self.step is not None
        done = self.finish()
        self.offset += self.number if again else 0
        self.number = ionic
        self.step = Step(index=self.offset + ionic, n_electronic=electronic)
        return done

    def _onsite_atom(self, line: bytes) -> tuple[int, int] | None:
        """The atom (from 0) and l of an onsite block. Beyond its width the number is stars; blocks are in order."""
        match = _ONSITE.match(line)
        if match is None:
            return None
        if match[1].isdigit():
            return int(match[1]) - 1, int(match[2])
        if len(self.run.ldau_l) != len(self.run.counts):
            return None
        atoms = np.flatnonzero(np.repeat(self.run.ldau_l, self.run.counts) >= 0)
        return (int(atoms[len(self.pending)]), int(match[2])) if len(self.pending) < len(atoms) else None

    def _iteration_ends(self) -> None:
        """Keep the onsite set of this iteration if it is complete: as many atoms as ever, each with both spins."""
        if self.pending and len(self.pending) >= self.n_onsite and all(len(m) == 2 for m in self.pending.values()):
            self.onsite, self.n_onsite = self.pending, len(self.pending)
        self.pending, self.atom = {}, None

    def _table(self, lines: Iterator[bytes]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A table of spheres: totals (n,) and parts (n, l), whatever the number of columns."""
        for line in chain.from_iterable(take(lines, 1) for _ in range(3)):
            if line.lstrip().startswith(b"# of ion"):
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
        else:
            step.occupations = occupations_from_spheres(run, step)
            step.from_spheres = step.occupations is not None
        self.step = None
        self._clear()
        self.n_complete += step.complete
        # where there is one step only, the numbers go on counting the iterations of linear response
        single = run.version and run.nsw <= 1 and run.ibrion not in (5, 6)
        return None if single and self.n_complete and not step.complete else step

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
            if not words:
                continue
            # a matrix that cannot be read is not a number, and impossible
            unread = [b"*"] * (2 * n * n)
            atoms = np.array(list(words))
            matrices = numbers(
                chain.from_iterable(found if len(found) == len(unread) else unread for found in words.values())
            ).reshape(-1, 2, n, n)
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


__all__ = ["Run", "Step", "VaspError", "frames", "read_outcar", "stream_outcar"]
