"""A run that AiiDA did not make, as a node: what went in, the hashes of its files, and every step it completed.

OUTCARs are hundreds of megabytes and POTCARs are licensed, so neither is stored. The node is a folder with INCAR,
KPOINTS, POSCAR and OCCMATRIX where there are such, the head of OUTCAR (what VASP resolved its input to), `files.json`
(size and SHA-256 of every file of the run, SHA-512 of each POTCAR) and `frames.h5` (every complete step, as read). A
data set of frames makes the same node without the files of VASP. No path is kept.

Attributes: `run`, the name of the trajectory; `n_steps`; `settings`, the hash of the level of theory, empty where the
files do not tell it; `carrier`, `{kind, n}` as NELECT tells it, absent for a data set, which says it frame by frame.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
from aiida import orm
from aiida_vasp.data.potcar import PotcarFileData

from leopold_model.frames import Frame, read_frames, write_frames
from leopold_model.vasp.lines import open_lines
from leopold_model.vasp.poscar import blocks
from leopold_model.vasp.run import Run, VaspError, at_thermostat, frames, n_carriers, refuse_without_moments
from leopold_model.vasp.sources import FILES, read_run
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.adapter import lower
from leopold_workflows.vasp.level_of_theory import level_of_theory, settings_hash

FRAMES, MANIFEST, HEAD = "frames.h5", "files.json", "OUTCAR.head"
INPUTS = ("INCAR", "KPOINTS", "POSCAR", "OCCMATRIX")  # stored as they are
HASHED = (*INPUTS, "POTCAR", "CONTCAR", *FILES)
DATA_SETS = (".h5", ".hdf5", ".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")
_POTCAR_ENDS = "End of Dataset\n"


def old_run(path: Path, name: str | None = None) -> orm.FolderData:
    """The node, unstored, of the run folder, OUTCAR or frame file at `path`; `name` replaces the folder's as the run's.

    Raises VaspError or FrameError, naming file and remedy, where nothing can be learned from it.
    """
    if path.is_file() and path.name.endswith(DATA_SETS):
        return _data_set(path, name)
    run = read_run(path)
    refuse_without_moments(run)
    if run.occ_banner and run.occ_banner.imposed:
        raise VaspError(f"{run.path}: occupations were imposed here; give the run that released them")
    read = Path(run.path)
    # a file given by itself is that file alone: what lies beside it may belong to other runs
    files = {n: path / n for n in HASHED if path.is_dir() and (path / n).is_file()} | {read.name: read}
    head = _head(read)
    name = name or (path if path.is_dir() else path.resolve().parent).resolve().name
    steps = at_thermostat(frames(run, carrier="electron", n_carriers=0, run_name=name, source="import"), run)
    if not steps:
        raise VaspError(f"{run.path}: no step has all of energy, forces and positions; {'; '.join(run.problems)}")
    potcars = _potcars(files)
    level = _level(run, steps[0].cell, files, potcars)
    problems = [problem.replace(run.path, read.name) for problem in run.problems]
    node = _node(name, steps, files, {"potcars": potcars, "level_of_theory": level, "problems": problems})
    node.base.repository.put_object_from_filelike(io.BytesIO(head.encode()), HEAD)
    node.base.attributes.set_many(
        {"n_steps": len(run.steps), "settings": settings_hash(level) if level else "", "carrier": _carrier(run)}
    )
    return node


def levels_of(frames: FrameSetData) -> list[dict]:
    """The levels of theory of the runs that `frames` were taken from, as far as their files told."""
    inputs = frames.creator.base.links.get_incoming().all() if frames.creator else []
    runs = [link.node for link in inputs if link.link_label.startswith("run_")]
    told = [json.loads(run.base.repository.get_object_content(MANIFEST)).get("level_of_theory") for run in runs]
    return [level for level in told if level]


def _data_set(path: Path, name: str | None) -> orm.FolderData:
    read = read_frames(path)
    name = name or path.name.split(".")[0]
    steps = [replace(f, run=f.run or name, step=k if f.step < 0 else f.step) for k, f in enumerate(read, start=1)]
    found = {f.settings for f in read}
    node = _node(name, steps, {path.name: path}, {})
    node.base.attributes.set_many({"n_steps": len(read), "settings": found.pop() if len(found) == 1 else ""})
    return node


def _node(name: str, steps: Sequence[Frame], files: dict[str, Path], more: dict) -> orm.FolderData:
    node = orm.FolderData()
    node.label = name
    put = node.base.repository.put_object_from_filelike
    for file in set(INPUTS) & set(files):
        put(io.BytesIO(files[file].read_bytes()), file)
    told = {file: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for file, path in sorted(files.items())}
    put(io.BytesIO(json.dumps({"files": told, **more}, indent=1).encode()), MANIFEST)
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / FRAMES, steps)
        put(io.BytesIO((Path(folder) / FRAMES).read_bytes()), FRAMES)
    node.base.attributes.set("run", name)
    return node


def _carrier(run: Run) -> dict | None:
    """What NELECT adds to or takes from the neutral cell; None where it does neither (a dopant may)."""
    excess = run.excess_electrons
    if not excess:
        return None
    return {"kind": "electron" if excess > 0 else "hole", "n": n_carriers(run, run.complete_steps[-1])}


def _level(run: Run, cell: np.ndarray, files: dict[str, Path], potcars: dict[str, str]) -> dict | None:
    """The level of theory that the same run made here has; None without the three files that it takes."""
    if not {"INCAR", "KPOINTS", "POTCAR"} <= set(files):
        return None
    from pymatgen.io.vasp.inputs import Incar, Kpoints  # seconds

    try:
        tags = {"encut": run.encut} | lower(Incar.from_file(files["INCAR"]))
        mesh = Kpoints.from_file(files["KPOINTS"])
    except (ValueError, IndexError, KeyError) as error:
        raise VaspError(
            f"INCAR or KPOINTS beside {run.path} cannot be read ({error}): repair them, or give OUTCAR alone"
        ) from None
    if mesh.num_kpts:
        points: Sequence = [list(k) for k in mesh.kpts]
    else:
        divisions = np.array(mesh.kpts[0], dtype=int)
        centred = mesh.style.name.startswith("G")
        points = [divisions, np.array(mesh.kpts_shift) + (0.0 if centred else 0.5 * (divisions % 2 == 0))]
    return level_of_theory([kind for kind, _ in blocks(run.symbols)], tags, potcars, points, cell)


def _potcars(files: dict[str, Path]) -> dict[str, str]:
    """SHA-512 of each potential in POTCAR by its element, as aiida-vasp has it of the file it came from."""
    if "POTCAR" not in files:
        return {}
    found = {}
    for part in files["POTCAR"].read_text(errors="replace").split(_POTCAR_ENDS)[:-1]:
        title = re.search(r"TITEL\s*=\s*\S+\s+([A-Z][a-z]?)", part)
        if title:
            found[title[1]] = PotcarFileData.get_contents_sha512(part + _POTCAR_ENDS)
    return found


def _head(path: Path) -> str:
    """OUTCAR down to its first electronic iteration; empty for another kind of file."""
    if "OUTCAR" not in path.name:
        return ""
    with open_lines(path) as lines:
        return b"".join(takewhile(lambda line: b" Iteration " not in line, lines)).decode("ascii", "replace")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
