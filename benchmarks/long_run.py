"""What a long run of dynamics costs a daemon worker: 5000 steps of 288 atoms, OUTCAR whole, in segments, or reduced.

    python benchmarks/long_run.py                              # rutile, 288 atoms, 5000 steps; 2 GB of disk
    python benchmarks/long_run.py --steps 1000

The stand-in computes a few steps; their text is repeated, numbered on, to the length asked for. Then, each in a process
of its own: what the parser does with OUTCAR (read it, make frames, write and describe their node), with one of 500
steps, and with the file that `leopold reduce-vasp` makes of OUTCAR; and that reduction itself, which a job does on the
cluster. Wall time in seconds, for which a worker that parses answers nobody, and peak memory of the process with all
that it imported, in MB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' helper

COMPUTED = 4  # steps by the stand-in
REPEAT = (4, 4, 3)
SEGMENT = 500  # steps of one job, as the protocols have it
STEP = re.compile(r"(Ionic step|Iteration)( +)(\d+)")


def computed(folder: Path) -> tuple[str, list[str], str]:
    """Head, steps and end of an OUTCAR by the stand-in."""
    from tests.standin.standin_case import MD, TIO2, crystal, here, prepare

    prepare(folder, crystal("tio2", REPEAT, around=40), {**TIO2, **MD, "NSW": COMPUTED}, seed_site=40)
    here(folder)
    head, *steps = re.split(r"(?=^-+ Ionic step )", (folder / "OUTCAR").read_text(), flags=re.M)
    last, total, end = steps[-1].partition(" General timing")
    return head, [*steps[:-1], last], total + end


def repeated(path: Path, parts: tuple[str, list[str], str], n: int) -> Path:
    """OUTCAR of `n` steps."""
    head, steps, end = parts
    with path.open("w") as file:
        file.write(head.replace(f"NSW    = {COMPUTED:6d}", f"NSW    = {n:6d}"))
        for k in range(n):
            file.write(STEP.sub(lambda m: m[1] + str(k + 1).rjust(len(m[2]) + len(m[3])), steps[k % COMPUTED]))  # noqa: B023
        file.write(end)
    return path


def parse(path: Path) -> str:
    from leopold_model.vasp.outcar import read_outcar
    from leopold_model.vasp.reduced import read_reduced
    from leopold_model.vasp.run import frames
    from leopold_workflows.data.frames import FrameSetData

    run = read_reduced(path) if path.suffix == ".h5" else read_outcar(path)
    node = FrameSetData.from_frames(frames(run, carrier="electron", n_carriers=1, run_name="r", source="fpmd"))
    return f"{node.n_frames} frames"


def reduce(path: Path) -> str:
    from leopold_model.vasp.outcar import read_outcar
    from leopold_model.vasp.reduced import write_reduced

    write_reduced(path.with_name("run.h5"), read_outcar(path))
    return f"{path.with_name('run.h5').stat().st_size / 1e6:.0f} MB"


def measure(what, path: Path, results) -> None:
    from aiida import load_profile
    from aiida.storage.sqlite_temp import SqliteTempBackend

    import leopold_workflows.data.frames  # noqa: F401 (a worker has imported it before the job)

    load_profile(SqliteTempBackend.create_profile("long_run"))
    started = time.perf_counter()
    answer = what(path)
    results.put((time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, answer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AIIDA_PATH"] = name
        parts = computed(folder / "computed")
        whole = repeated(folder / "OUTCAR", parts, options.steps)
        segment = repeated(folder / "OUTCAR.segment", parts, SEGMENT)
        print(f"{options.steps} steps of {6 * REPEAT[0] * REPEAT[1] * REPEAT[2]} atoms", flush=True)
        context = multiprocessing.get_context("spawn")
        for title, what, path in (
            ("worker, OUTCAR", parse, whole),
            (f"worker, a segment of {SEGMENT}", parse, segment),
            ("cluster, reduction", reduce, whole),
            ("worker, reduced", parse, folder / "run.h5"),
        ):
            results = context.Queue()
            process = context.Process(target=measure, args=(what, path, results))
            process.start()
            process.join()
            seconds, memory, answer = results.get(timeout=1)
            size = path.stat().st_size / 1e6
            print(f"{title:26s} {size:7.0f} MB {seconds:7.1f} s {memory:6.0f} MB peak  {answer}", flush=True)


if __name__ == "__main__":
    main()
