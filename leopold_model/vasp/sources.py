"""Which of a run's files is read: the one rule of precedence.

    OUTCAR, then vaspout.h5, then vasprun.xml

Each quantity of each step comes from the first of them that holds it. The steps themselves are those of the first file
with a complete one; the next files are opened only if something is missing in these, and give it to a step of the same
number and energy. So OUTCAR comes first, because only it has the onsite matrices and the word on convergence;
vaspout.h5 next, which has moments and all digits; and vasprun.xml fills in the forces that NWRITE = 0 leaves out of
OUTCAR. A path to a file reads that file alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import h5py

from leopold_model.vasp.lines import open_lines
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.run import Run, Step, VaspError, problems, steps_named
from leopold_model.vasp.vaspout import read_vaspout
from leopold_model.vasp.vasprun import read_vasprun

FILES = ("OUTCAR", "vaspout.h5", "vasprun.xml")
_SUFFIXES = ("", ".gz", ".xz", ".bz2")
_READERS: dict[str, Callable[[str | Path], Run]] = dict(
    zip(FILES, (read_outcar, read_vaspout, read_vasprun), strict=True)
)
# what a later file may give to a step, in groups that belong together
_GROUPS = (
    ("positions", "cell"), ("forces",), ("stress",), ("moments", "moments_by_l", "charges", "charges_by_l"),
    ("occupations", "from_spheres"),
)  # fmt: skip
# for lack of which it is opened
_NEEDED = {"vaspout.h5": ("positions", "forces", "moments"), "vasprun.xml": ("positions", "forces")}
_SAME_ENERGY = 2e-6  # eV; OUTCAR of VASP 5.2 has six decimals


def read_run(path: str | Path) -> Run:
    """The run in a folder, or in one file of it under any name; raises VaspError if there is none."""
    path = Path(path)
    if not path.is_dir():
        return _READERS[_kind(path)](path)
    files = ((name, path / (name + suffix)) for name in FILES for suffix in reversed(_SUFFIXES))
    found = {name: file for name, file in files if file.is_file()}
    if not found:
        raise VaspError(f"{path}: no {', '.join(FILES)} in this folder (or .gz, .xz, .bz2); give the folder of a run")
    run = Run()
    for name, file in found.items():
        if run.complete_steps and not _lacks(run, name):
            continue
        try:
            other = _READERS[name](file)
        except VaspError:
            if len(found) > 1:  # a damaged file is as good as none
                continue
            raise
        if run.complete_steps:
            _fill(run, other)
        elif other.complete_steps or not run.path:
            run = other
    return run


def _kind(path: Path) -> str:
    """Which of `FILES` this is, told by how it begins."""
    if path.is_file() and h5py.is_hdf5(path):
        return "vaspout.h5"
    with open_lines(path) as lines:
        start = b"".join(line for line, _ in zip(lines, range(3), strict=False))
    return "vasprun.xml" if b"<?xml" in start or b"<modeling" in start else "OUTCAR"


def _lacks(run: Run, name: str) -> bool:
    return any(getattr(step, quantity) is None for step in run.complete_steps for quantity in _NEEDED[name])


def _fill(run: Run, other: Run) -> None:
    """Give the complete steps of `run` what they lack and the same steps of `other` have, and say so."""
    of_its_own = [p for p in run.problems if p not in problems(run)]
    given = {step.index: step for step in other.complete_steps}
    filled: dict[str, list[int]] = {}
    for step in run.complete_steps:
        source = given.get(step.index)
        if source is None or abs(source.energy - step.energy) > _SAME_ENERGY or not _same_size(step, source):
            continue
        groups = [g for g in _GROUPS if getattr(step, g[0]) is None and getattr(source, g[0]) is not None]
        for name in chain.from_iterable(groups):
            setattr(step, name, getattr(source, name))
        if groups:
            filled.setdefault(", ".join(g[0] for g in groups), []).append(step.index)
    said = [f"{steps_named(steps)}: {names} from {Path(other.path).name}" for names, steps in filled.items()]
    run.problems = problems(run) + of_its_own + said


def _same_size(a: Step, b: Step) -> bool:
    return a.positions is None or b.positions is None or len(a.positions) == len(b.positions)
