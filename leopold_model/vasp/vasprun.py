"""vasprun.xml, whole or cut: energies, forces, stress and positions of every finished ionic step.

No version of VASP writes site moments or onsite matrices here, so this serves where OUTCAR is missing or was written
without forces. The force-consistent energy is `e_fr_energy`; VASP 5 mislabels the two others of the final block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import numpy as np
from ase.units import kB

from leopold_model.vasp.outcar import KILOBAR, open_lines
from leopold_model.vasp.run import Run, Step, problems

# the printed digits of an energy: a change below this cannot be told from zero
_RESOLUTION = 1e-8
Events = Iterator[tuple[str, ElementTree.Element]]
_SETTINGS = {
    "ISPIN": int, "LORBIT": int, "NWRITE": int, "NELM": int, "IBRION": int, "NSW": int, "ISYM": int,
    "EDIFF": float, "POTIM": float, "NELECT": float,
}  # fmt: skip


def read_vasprun(path: str | Path) -> Run:
    """The steps of a vasprun.xml (also .gz) whose `calculation` element is closed; moments and occupations are None.

    A step that used all NELM electronic iterations counts as converged only if its last energy change, with its printed
    digits, is certainly below EDIFF; that is never so for an EDIFF below 1e-8, which the file prints as 0.
    """
    run = Run(path=str(path), has_moments=False)
    with open_lines(path) as lines:
        parser = ElementTree.XMLPullParser(["start", "end"])  # type: ignore[var-annotated]
        opened: list[str] = []
        started = 0
        try:
            for line in lines:
                parser.feed(line)
                for event, element in cast(Events, parser.read_events()):
                    if event == "start":
                        opened.append(element.tag)
                        started += element.tag == "calculation"
                        continue
                    opened.pop()
                    _read(run, element, opened)
            parser.close()
            run.finished = True
        except ElementTree.ParseError:
            pass
    if started > len(run.steps):
        run.steps.append(Step(index=started))
    run.problems = problems(run)
    return run


def _read(run: Run, element: ElementTree.Element, opened: list[str]) -> None:
    """Take what is wanted from an element that just closed, inside the elements `opened`."""
    name = element.get("name", "")
    if element.tag == "i":
        if name == "version":
            run.version = (element.text or "").strip()
        elif name == "LNONCOLLINEAR":
            run.noncollinear = (element.text or "").strip() == "T"
        elif name in _SETTINGS and ("incar" in opened or "parameters" in opened):
            _set(run, name, element.text or "")
    elif element.tag == "array" and name == "atoms":
        run.symbols = [(row.findtext("c") or "").strip() for row in element.iter("rc")]
    elif element.tag == "array" and name == "atomtypes":
        rows = [[(c.text or "").strip() for c in row] for row in element.iter("rc")]
        run.counts = [int(row[0]) for row in rows]
        run.valences = [float(row[3]) for row in rows]
    elif element.tag == "calculation":
        run.steps.append(_step(run, element, len(run.steps) + 1))
        element.clear()
    elif element.tag in ("eigenvalues", "dos", "projected", "kpoints"):
        element.clear()


def _set(run: Run, name: str, text: str) -> None:
    try:
        value = _SETTINGS[name](text.split()[0])
    except (ValueError, IndexError):  # VASP prints LORBIT = F for 0, and stars where a number overflows
        return
    setattr(run, name.lower(), value)


def _step(run: Run, calculation: ElementTree.Element, index: int) -> Step:
    cell = _array(calculation, "structure/crystal/varray[@name='basis']")
    positions = _array(calculation, "structure/varray[@name='positions']")
    stress = _array(calculation, "varray[@name='stress']")
    energies = [_number(step.find("energy/i[@name='e_fr_energy']")) for step in calculation.findall("scstep")]
    kinetic = _number(calculation.find("energy/i[@name='kinetic']"))
    freedom = max(3 * run.n_atoms - 3, 1)
    step = Step(
        index=index,
        n_electronic=len(energies),
        energy=_number(calculation.find("energy/i[@name='e_fr_energy']")),
        forces=_array(calculation, "varray[@name='forces']"),
        stress=None if stress is None else -KILOBAR * stress,
        cell=cell,
        positions=None if cell is None or positions is None or len(cell) != 3 else positions @ cell,
        temperature=2 * kinetic / (freedom * kB),
        conserved=_number(calculation.find("energy/i[@name='total']")),
    )
    step.complete = bool(np.isfinite(step.energy))
    change = abs(energies[-1] - energies[-2]) + _RESOLUTION if len(energies) > 1 else np.inf
    step.converged = step.complete and (len(energies) < run.nelm or change < run.ediff)
    return step


def _number(element: ElementTree.Element | None) -> float:
    try:
        return float(element.text or "") if element is not None else float("nan")
    except ValueError:
        return float("nan")


def _array(parent: ElementTree.Element, path: str) -> np.ndarray | None:
    element = parent.find(path)
    if element is None:
        return None
    try:
        table = np.array([[float(w) for w in (row.text or "").split()] for row in element.iter("v")])
    except ValueError:
        return None
    return table if table.ndim == 2 and table.shape[1] == 3 else None
