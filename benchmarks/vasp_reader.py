"""How fast OUTCAR is read: this reader beside ASE, pymatgen and parsevasp on one file, each in a process of its own.

    python benchmarks/vasp_reader.py                 # an OUTCAR of dynamics by the stand-in, 60 steps of MgO, 64 atoms
    python benchmarks/vasp_reader.py --steps 300
    python benchmarks/vasp_reader.py OUTCAR          # a file of your own (plain, not gzipped)

Megabytes of file per second of processor time, peak memory of the process above that of its imports, and the ratio of
times to ours. The readers do different work: ASE reads energies, forces and total moments of every step; pymatgen and
parsevasp the last table only, and here pymatgen is also asked for its onsite matrices; ours reads all of it for every
step. One core.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def ours() -> Callable[[str], object]:
    from leopold_model.vasp.outcar import read_outcar

    return lambda path: f"{len(read_outcar(path).complete_steps)} steps"


def ase() -> Callable[[str], object]:
    from ase.io import read

    return lambda path: f"{len(read(path, index=':', format='vasp-out'))} steps"


def pymatgen() -> Callable[[str], object]:
    from pymatgen.io.vasp.outputs import Outcar

    def call(path):
        outcar = Outcar(path)
        outcar.read_onsite_density_matrices()
        return f"{len(outcar.data['onsite_density_matrices'])} matrices, no step"

    return call


def parsevasp() -> Callable[[str], object]:
    from parsevasp.outcar import Outcar

    return lambda path: f"{len(Outcar(file_path=path).get_magnetization() or {})} keys, last step"


READERS = {f.__name__: f for f in (ours, ase, pymatgen, parsevasp)}


def measure(name: str, path: str, results) -> None:
    """Processor seconds of one call (the best of three), and peak memory above the imports, MB; in a fresh process."""
    warnings.simplefilter("ignore")
    try:
        call = READERS[name]()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, answer = [], None
        for _ in range(3):
            started = time.process_time()
            answer = call(path)
            seconds.append(time.process_time() - started)
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        results.put((min(seconds), memory, answer))
    except (Exception, SystemExit) as error:  # parsevasp exits on files it cannot read
        results.put((None, None, f"{type(error).__name__}: {error}"))


def generate(directory: Path, steps: int) -> Path:
    """OUTCAR of `steps` steps of dynamics of MgO with a hole by the stand-in."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' helper
    from tests.standin.standin_case import MD, MGO, crystal, here, prepare

    prepare(directory, crystal("mgo"), {**MGO, **MD, "NSW": steps}, seed_site=40)
    here(directory)
    return directory / "OUTCAR"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outcar", nargs="?")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = options.outcar or str(generate(Path(directory), options.steps))
        size = Path(path).stat().st_size / 1e6
        print(f"{path}: {size:.1f} MB\n{'reader':10s} {'MB/s':>8} {'time/ours':>10} {'memory MB':>10}  answer")
        reference = None
        context = multiprocessing.get_context("spawn")
        for name in READERS:
            results = context.Queue()
            process = context.Process(target=measure, args=(name, path, results))
            process.start()
            seconds, memory, answer = results.get()
            process.join()
            if seconds is None:
                print(f"{name:10s} {'-':>8} {'-':>10} {'-':>10}  {answer}")
                continue
            reference = reference or seconds
            print(f"{name:10s} {size / seconds:8.1f} {seconds / reference:10.1f} {memory:10.0f}  {answer}")


if __name__ == "__main__":
    main()
