"""Peak memory of one evaluation (energy, forces, occupations) and of a few steps of dynamics over the number of atoms.

    python benchmarks/memory.py [--network default published] [--systems tio2_2304 tio2_20160] [--json]

Each figure is the largest resident size of a process of its own that builds the structure, compiles and runs: the call
behind `leopold evaluate`, and a block of 5 steps of Langevin dynamics, both in float32. `base` is that process with
everything imported, before it has a structure. `--json` prints a list of objects on the last line.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile

import md  # sets the threads before jax starts
import numpy as np

from leopold_model.evaluate import predictions
from leopold_model.frames import Frame

CELLS = {  # crystal and how often its cell is repeated
    "tio2_2304": ("tio2", (8, 6, 8)),
    "tio2_6912": ("tio2", (12, 8, 12)),
    "tio2_20160": ("tio2", (16, 14, 15)),
    "mgo_27000": ("mgo", (15, 15, 15)),
}
TASKS = ("evaluate", "md")
STEPS = 5


def peak() -> float:
    """GB"""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def work(system: str, network: str, task: str) -> dict:
    base = peak()
    crystal, repeats = CELLS[system]
    atoms = md.crystals()[crystal].repeat(repeats)
    atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=atoms.positions.shape)
    model = md.random_model(atoms, network)
    if task == "evaluate":
        frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier_sites=(0,), carrier="hole")
        [answer] = predictions(model.astype("float32"), [frame])
        assert np.isfinite(answer.forces).all()
    else:
        with tempfile.TemporaryDirectory() as directory:
            md.ours(atoms, model, "float32", "langevin", STEPS, directory)
    return {
        "system": system,
        "n_atoms": len(atoms),
        "network": network,
        "task": task,
        "base_GB": base,
        "peak_GB": peak(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", choices=[*md.NETWORKS, "published"], default=["default", "published"])
    parser.add_argument("--systems", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--json", action="store_true", help="a list of results as JSON on the last line")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # system, network, task: in this process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(work(*options.one)))
        return
    results = []
    for network in options.network:
        for task in TASKS:
            for system in options.systems:
                command = [sys.executable, __file__, "--one", system, network, task]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                result = json.loads(output.splitlines()[-1])
                results.append(result)
                own = result["peak_GB"] - result["base_GB"]
                print(
                    f"{system:11s} {network} network, {task}: {result['peak_GB']:.2f} GB, "
                    f"{1e6 * own / result['n_atoms']:.0f} kB per atom over {result['base_GB']:.2f} GB",
                    flush=True,
                )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
