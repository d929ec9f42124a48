"""Memory of the daemon over a thousand processes: does a worker that lives for weeks grow?

    python benchmarks/daemon_memory.py                 # 500 trainings by one worker, an embedded profile of its own
    python benchmarks/daemon_memory.py --chains 50

Each training is a `leopold.train.base` WorkChain and its job, two processes, by a shell script in place of `leopold`;
`--waves` are submitted one after the other, all of one wave at once. Printed after each wave: processes that ended, the
worker's resident memory, and at the end a line through the waves after the first, which imports and fills caches.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

SCRIPT = """#!/bin/sh
echo '{"spec": {"elements": [8, 12]}}' > model.leopold
echo '{"status": "finished", "errors": {}}' > result.json
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=500)
    parser.add_argument("--waves", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from leopold_workflows.cli import embedded

        embedded.use(folder / ".aiida", print)
        from aiida import orm
        from aiida.engine import submit
        from aiida.engine.daemon.client import get_daemon_client

        from leopold_model.frames import Frame
        from leopold_workflows.data.frames import FrameSetData
        from leopold_workflows.workchains.train import TrainBaseWorkChain

        embedded.verdi("config", "set", "caching.enabled_for", "")
        standin, _ = embedded.codes()
        (folder / "train").write_text(SCRIPT)
        (folder / "train").chmod(0o755)
        code = orm.InstalledCode(label="train", computer=standin.computer, filepath_executable=f"{folder}/train")
        numbers, random = np.array([12, 8] * 32), np.random.default_rng(0)
        frame = Frame(
            numbers, random.normal(size=(64, 3)), 8.4 * np.eye(3), carrier="hole", carrier_sites=(1,), energy=-1.0,
            forces=random.normal(size=(64, 3)), moments=random.normal(size=64),
        )  # fmt: skip
        frames = FrameSetData.from_frames([frame]).store()

        def begin():
            builder = TrainBaseWorkChain.get_builder_from_protocol(code.store(), protocol="fast")
            builder.training.frames = frames
            return submit(builder)

        embedded.start_daemon(1)
        try:
            (worker,) = (psutil.Process(int(pid)) for pid in get_daemon_client().get_worker_info()["info"])
            done, seen, started = 0, [], time.monotonic()
            print("processes  resident MB  CPU s of the worker  wall s")
            for wave in np.array_split(np.arange(options.chains), options.waves):
                chains = [begin() for _ in wave]
                while not all(chain.is_terminated for chain in chains):
                    time.sleep(2.0)
                assert all(chain.is_finished_ok for chain in chains), [chain.exit_message for chain in chains]
                done += 2 * len(chains)
                seen.append((done, worker.memory_info().rss / 1e6))
                wall = time.monotonic() - started
                print(f"{done:9d} {seen[-1][1]:12.1f} {sum(worker.cpu_times()[:2]):20.0f} {wall:7.0f}", flush=True)
        finally:
            embedded.stop_daemon()
        processes, memory = np.array(seen[1:]).T
        slope, _ = np.polyfit(processes, memory, 1)
        print(f"growth after the first wave: {1e3 * slope:.1f} kB a process")


if __name__ == "__main__":
    main()
