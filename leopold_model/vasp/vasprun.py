"""vasprun.xml, whole or cut: energies, forces, stress and positions of every finished ionic step.

No version of VASP writes site moments or onsite matrices here, so this serves where OUTCAR is missing or was written
without forces. The force-consistent energy is `e_fr_energy`; VASP 5 mislabels the two others of the final block. Under
a pressure (PSTRESS) it is an enthalpy, from which P V is taken here. Steps of a machine-learned force field stand
outside of the `calculation` elements, or in one without electronic steps, and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import numpy as np
from ase.units import kB

from leopold_model.vasp.header import possible
from leopold_model.vasp.lines import open_lines
from leopold_model.vasp.outcar import KILOBAR
from leopold_model.vasp.run import Run, Step, problems

# the printed digits of an energy: a change below this cannot be told from zero
_RESOLUTION = 1e-8
Events = Iterator[tuple[str, ElementTree.Element]]
_SETTINGS = {
    "ISPIN": int, "LORBIT": int, "NWRITE": int, "NELM": int, "IBRION": int, "NSW": int, "ISYM": int,
    "EDIFF": float, "POTIM": float, "TEBEG": float, "TEEND": float, "NELECT": float, "PSTRESS": float,
}  # fmt: skip
# what VASP copies from INCAR as it stands there, also where XML forbids it
_TEXT = re.compile(rb'(\s*<i type="string"[^>]*>)(.*)(</i>\s*)', re.DOTALL)
_CONTROL = bytes(c for c in range(32) if c not in b"\t\n\r")
_FORBIDDEN = bytes.maketrans(_CONTROL, b"?" * len(_CONTROL))


def read_vasprun(path: str | Path) -> Run:
    """The steps of a vasprun.xml (plain or compressed) whose `calculation` element is closed, without moments and
    occupations.

    A step that used all NELM electronic iterations counts as converged only if its last energy change, with its printed
    digits, is certainly below EDIFF; that is never so for an EDIFF below 1e-8, which the file prints as 0.
    """
    run = Run(path=str(path), has_moments=False)
    reader = _Reader(run)
    with open_lines(path) as lines:
        parser = ElementTree.XMLPullParser(["start", "end"])  # type: ignore[var-annotated]
        try:
            for line in map(_allowed, lines):
                if b"<!DOCTYPE" in line:  # VASP writes none; entities that it declares unfold to gigabytes
                    break
                parser.feed(line)
                for event, element in cast(Events, parser.read_events()):
                    if event == "start":
                        reader.opens(element)
                    else:
                        reader.closes(element)
            else:
                parser.close()
                run.finished = True
        except ElementTree.ParseError:
            pass
    if reader.started > reader.closed:
        run.steps.append(Step(index=reader.started))
    run.problems = problems(run)
    return run


def _allowed(line: bytes) -> bytes:
    if b'type="string"' in line and (match := _TEXT.fullmatch(line)):
        inside = match[2].translate(_FORBIDDEN).replace(b"&", b"&amp;").replace(b"<", b"&lt;")
        return match[1] + inside + match[3]
    return line


class _Reader:
    """Takes what is wanted from elements as they close, and lets go of them, so that memory does not grow."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.opened: list[ElementTree.Element] = []
        self.started = self.closed = 0
        self.pressure = 0.0  # PSTRESS, kB

    def opens(self, element: ElementTree.Element) -> None:
        self.opened.append(element)
        self.started += element.tag == "calculation"

    def closes(self, element: ElementTree.Element) -> None:
        self.opened.pop()
        name, run = element.get("name", ""), self.run
        if element.tag == "i":
            self._setting(name, (element.text or "").strip())
        elif element.tag == "array" and name == "atoms":
            run.symbols = [(row.findtext("c") or "").strip() for row in element.iter("rc")]
        elif element.tag == "array" and name == "atomtypes":
            rows = [[(c.text or "").strip() for c in row] for row in element.iter("rc")]
            with suppress(ValueError, IndexError):
                counts, valences = [int(row[0]) for row in rows], [float(row[3]) for row in rows]
                if possible(counts):
                    run.counts, run.valences = counts, valences
        elif element.tag == "calculation":
            self.closed += 1
            step = _step(run, element, self.closed, self.pressure)
            if step.n_electronic or not run.force_field:
                run.steps.append(step)
        elif element.tag in ("eigenvalues", "dos", "projected", "kpoints"):
            element.clear()
        if len(self.opened) == 1:
            self.opened[0].clear()

    def _setting(self, name: str, text: str) -> None:
        """A tag as the run used it. That of `parameters` follows that of `incar`; there NELM stands again, of the
        response functions."""
        within = {element.get("name", element.tag) for element in self.opened}
        if name == "version":
            self.run.version = text
        elif "response functions" in within or not within & {"incar", "parameters"}:
            return
        elif name == "LNONCOLLINEAR":
            self.run.noncollinear = text == "T"
        elif name == "ML_LMLFF":
            self.run.force_field = text == "T"
        elif name in _SETTINGS:
            try:
                value = _SETTINGS[name](text.split()[0])
            except (ValueError, IndexError):  # VASP prints LORBIT = F for 0, and stars where a number overflows
                return
            if name == "PSTRESS":
                self.pressure = value
            else:
                setattr(self.run, name.lower(), value)


def _step(run: Run, calculation: ElementTree.Element, index: int, pressure: float) -> Step:
    cell = _array(calculation, "structure/crystal/varray[@name='basis']", 3)
    positions = _array(calculation, "structure/varray[@name='positions']", run.n_atoms)
    stress = _array(calculation, "varray[@name='stress']", 3)
    energies = _electronic(calculation)
    final = {i.get("name"): _number(i) for i in calculation.findall("energy/i")}
    nan = float("nan")
    kinetic = final.get("kinetic", nan)
    step = Step(
        index=index,
        n_electronic=len(energies),
        energy=final.get("e_fr_energy", nan),
        forces=_array(calculation, "varray[@name='forces']", run.n_atoms),
        stress=None if stress is None else -KILOBAR * stress,
        cell=cell,
        positions=None if cell is None or positions is None else positions @ cell,
        temperature=2 * kinetic / (max(3 * run.n_atoms - 3, 1) * kB),
        kinetic=kinetic,
        kinetic_lattice=final.get("lattice kinetic", nan),
        thermostat_potential=final.get("nosepot", nan),
        thermostat_kinetic=final.get("nosekinetic", nan),
        conserved=final.get("total", nan),
    )
    if pressure:
        step.energy -= pressure * KILOBAR * (nan if cell is None else abs(np.linalg.det(cell)))
    step.complete = bool(np.isfinite(step.energy))
    change = abs(energies[-1] - energies[-2]) + _RESOLUTION if len(energies) > 1 else np.inf
    step.converged = step.complete and (len(energies) < run.nelm or change < run.ediff)
    return step


def _electronic(calculation: ElementTree.Element) -> list[float]:
    """The energy after each electronic iteration. The first and the last print every term of it (alpha Z and on); what
    follows the last are iterations of linear response."""
    steps = calculation.findall("scstep")
    whole = [k for k, step in enumerate(steps) if step.find("energy/i[@name='alphaZ']") is not None]
    end = whole[-1] + 1 if whole and whole[-1] > 0 else len(steps)
    return [_number(step.find("energy/i[@name='e_fr_energy']")) for step in steps[:end]]


def _number(element: ElementTree.Element | None) -> float:
    try:
        return float(element.text or "") if element is not None else float("nan")
    except ValueError:
        return float("nan")


def _array(parent: ElementTree.Element, path: str, rows: int) -> np.ndarray | None:
    """The numbers (rows, 3) of an element; None where they are not all there, as when stars stand for one."""
    element = parent.find(path)
    if element is None:
        return None
    try:
        table = np.array([[float(w) for w in (row.text or "").split()] for row in element.iter("v")])
    except ValueError:
        return None
    return table if table.shape == (rows, 3) and np.isfinite(table).all() else None
