"""What AiiDA costs per job and per frame: processor time of the engine, bytes of the database and the repository.

    python benchmarks/overhead.py                # 10 jobs of each kind on an embedded profile of its own
    python benchmarks/overhead.py --jobs 50

Jobs run one after the other in this process, which is what a worker of the daemon does; the processor time of the jobs
themselves is not counted. `smallest` is a training that a shell script stands in for, `cached` the same taken from the
database, `label` one frame of 64 atoms of MgO by the stand-in: two VASP runs, the calcfunctions around them and the
WorkChain. Bytes are what the files of the profile grew by, per job. A frame in a set of a thousand is counted apart.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

SCRIPT = """#!/bin/sh
echo '{"spec": {"elements": [8, 12]}}' > model.leopold
echo '{"status": "finished", "errors": {}}' > result.json
"""


def measure(name: str, folder: Path, jobs: int, one) -> None:
    """Print what `one(k)` for k of `jobs` costs each; the first, which imports and compiles, is not counted."""
    one(0)
    before, cpu = sizes(folder), time.process_time()
    for k in range(1, jobs + 1):
        one(k)
    cpu = (time.process_time() - cpu) / jobs
    grown = [(after - start) / jobs / 1e3 for start, after in zip(before, sizes(folder), strict=True)]
    print(f"{name:10s} {cpu:8.2f} s CPU {grown[0]:8.1f} kB database {grown[1]:8.1f} kB repository")


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes of the database and of the repository of the profile in `folder`."""
    (database,) = folder.rglob("database.sqlite")
    with sqlite3.connect(database) as connection:  # what waits in the log is not yet in the file
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [path for path in (database.parent / "container").rglob("*") if path.is_file()]
    return database.stat().st_size, sum(path.stat().st_size for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from leopold_workflows.cli import embedded

        embedded.use(folder / ".aiida", print)
        import numpy as np
        from aiida import orm
        from aiida.engine import run_get_node
        from aiida.manage.caching import disable_caching, enable_caching

        from leopold_model.frames import Frame
        from leopold_workflows.calculations.train import TrainCalculation
        from leopold_workflows.data.frames import FrameSetData
        from leopold_workflows.vasp.study import study
        from leopold_workflows.workchains.label import LabelWorkChain

        standin, _ = embedded.codes()
        (folder / "train").write_text(SCRIPT)
        (folder / "train").chmod(0o755)
        script = orm.InstalledCode(label="train", computer=standin.computer, filepath_executable=f"{folder}/train")
        atoms = study(standin, material_name="mgo", level="fast").structure.get_ase()
        random = np.random.default_rng(0)

        def frame(**labels):
            positions = atoms.positions + 0.02 * random.normal(size=atoms.positions.shape)
            return Frame(atoms.numbers, positions, atoms.cell.array, carrier="hole", carrier_sites=(32,), **labels)

        labels = {"energy": -1.0, "forces": random.normal(size=(64, 3)), "moments": random.normal(size=64)}
        frames = FrameSetData.from_frames([frame(**labels)]).store()

        def train(seed):
            _, node = run_get_node(TrainCalculation, code=script, frames=frames, parameters=orm.Dict({"seed": seed}))
            assert node.is_finished_ok

        def label(_):
            asked = frame()
            builder = LabelWorkChain.get_builder_from_protocol(
                standin, FrameSetData.from_frames([asked]), asked.id, material="mgo", protocol="fast"
            )
            run_get_node(builder)

        print(f"{options.jobs} jobs each, {len(atoms)} atoms")
        with disable_caching():
            measure("smallest", folder, options.jobs, train)
        with enable_caching():
            measure("cached", folder, options.jobs, train)
        with disable_caching():
            measure("label", folder, options.jobs, label)
        every = [frame(**labels | {"forces": random.normal(size=(64, 3))}) for _ in range(1000)]
        stored = FrameSetData.from_frames(every).store()
        bytes_ = stored.base.repository.get_object_size(FrameSetData.FILE)
        print(f"frames     {bytes_ / len(every) / 1e3:.1f} kB a frame, with energy, forces and moments")


if __name__ == "__main__":
    main()
