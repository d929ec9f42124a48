"""Time of an ionic step of the stand-in, files included, and the energy drift of a run it makes.

    python benchmarks/standin_files.py [--steps 500]

64 atoms of MgO with a hole, LORBIT=11 and LDAUPRINT=2, one thread: milliseconds per step with all files written, for
onsite matrices of both species and of oxygen alone, beside the engine's own share, and the bytes each step costs. Then
the drift of ETOTAL over an NVE run, which means something only while the carrier stays where it is.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ase.io import read

from leopold_model.standin.engine import Engine
from tests.standin.standin_case import MD, MGO, crystal, here, prepare

SITE = 40
LANGEVIN = {"MDALGO": 3, "LANGEVIN_GAMMA": "5 5"}


def engine_alone(folder: Path, steps: int) -> float:
    """Seconds per evaluation along the same trajectory, nothing written."""
    frames = read(folder / "XDATCAR", index=":", format="vasp-xdatcar")
    engine = Engine(frames[0].get_chemical_symbols(), n_carriers=1)
    state, cell = engine.start(np.eye(64)[SITE]), frames[0].cell[:]
    # XDATCAR is wrapped into the cell: follow the path instead, as the ionic loop does
    fractional = np.unwrap([f.get_scaled_positions() for f in frames], axis=0, period=1.0)
    started = time.process_time()
    for x in fractional:
        state = engine.evaluate(x @ cell, cell, state, tolerance=1e-7).state
    return (time.process_time() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as root:
        for title, ldaul in (("both species", "1 1"), ("oxygen only", "-1 1")):
            folder = Path(root) / ldaul.replace(" ", "_")
            prepare(folder, crystal("mgo", around=SITE), {**MGO, **MD, **LANGEVIN, "NSW": steps, "LDAUL": ldaul}, SITE)
            wall, cpu = time.perf_counter(), time.process_time()
            here(folder)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            sizes = {n: (folder / n).stat().st_size / steps / 1024 for n in ("OUTCAR", "vasprun.xml")}
            print(
                f"{title:13s} {cpu / steps * 1e3:6.2f} ms CPU, {wall / steps * 1e3:6.2f} ms wall a step; "
                f"the engine alone {engine_alone(folder, steps) * 1e3:5.2f} ms; "
                + ", ".join(f"{n} {s:.0f} KiB a step" for n, s in sizes.items())
            )
        folder = Path(root) / "nve"
        tags = {**MGO, **MD, "NSW": 4 * steps, "SMASS": -3, "EDIFF": "1E-7", "LDAUPRINT": 0}
        prepare(folder, crystal("mgo", around=SITE), tags, SITE)
        here(folder)
        total = np.array(re.findall(r"ETOTAL =\s+(\S+)", (folder / "OUTCAR").read_text()), dtype=float) / 64
        sites = [int(f.get_magnetic_moments().argmax()) for f in read(folder / "OUTCAR", index="::20")]
        drift = np.polyfit(np.arange(len(total)) * 1e-3, total, 1)[0]
        print(
            f"NVE {4 * steps} fs: drift {drift * 1e3:+.4f} meV/atom/ps, rms {np.std(total) * 1e3:.4f} meV/atom, "
            f"{np.count_nonzero(np.diff(sites))} site changes"
        )


if __name__ == "__main__":
    main()
