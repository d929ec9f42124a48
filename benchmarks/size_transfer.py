"""A model trained on a small cell in larger ones, without retraining: its errors against the stand-in, and the cost.

    python benchmarks/size_transfer.py demo/mgo/model.leopold --system mgo [--temperature 600] [--json]

Frames of every size come from the stand-in's own dynamics (Langevin, 1 fs, one carrier). The model is told the site of
the reference. Energies: the mean error of a size, which a crystal of that size has in common, and the scatter about it,
which is what tells one frame from another. Forces: of all atoms, and of those within 4 A of the carrier, whose number
does not grow with the cell. Then a short NVE run of the model from the last frame of each size. Costs are CPU time on
one thread: of a step of learned dynamics (lists, guards and recording included, compilation left out; the fastest
block), and of an energy with forces by the stand-in.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.geometry import get_distances

from leopold_model.checkpoint import Model, load_model
from leopold_model.config import MDConfig
from leopold_model.evaluate import predictions
from leopold_model.frames import Frame
from leopold_model.md import force_field
from leopold_model.md_simulation import Simulation
from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.dynamics import Langevin, maxwell
from leopold_model.standin.engine import Engine
from leopold_model.standin.occupations import moments

# the cell of the demo, twice that, and about 2000 atoms
SIZES = {
    "mgo": [(2, 2, 2), (2, 2, 4), (6, 6, 7)],
    "tio2": [(2, 2, 4), (4, 2, 4), (6, 6, 9)],
    "anatase": [(3, 3, 1), (3, 3, 2), (7, 6, 4)],
}
NEAR = 4.0  # Angstrom from the carrier
FRICTION = 5.0  # 1/ps
EQUILIBRATION, HELD, STRIDE = 400, 150, 20  # steps


def thermal_frames(system: str, repeat, temperature: float, count: int, seed: int) -> tuple[list[Frame], float]:
    """`count` frames of the stand-in, `STRIDE` steps apart, and its seconds of CPU time for one energy with forces."""
    atoms = ideal_cell(system, repeat)
    engine = Engine(atoms.get_chemical_symbols(), parameters=system)
    rng = np.random.default_rng(seed)
    masses, cell, positions = atoms.get_masses(), atoms.cell.array, atoms.positions.copy()
    free = np.ones((len(atoms), 3), dtype=bool)
    motion = Langevin(masses, free, 1.0, np.full(len(atoms), FRICTION), rng)
    velocities = maxwell(masses, free, 2 * temperature, rng)  # potential energy, zero at first, takes half of it
    bias = np.zeros(len(atoms))
    bias[engine.sites[0]] = 1.0
    result = engine.evaluate(positions, cell, engine.start(bias), bias=bias)
    frames, seconds = [], []
    for step in range(EQUILIBRATION + STRIDE * count):
        began = time.process_time()
        result = engine.evaluate(positions, cell, result.state, bias=bias if step < HELD else None)
        seconds.append(time.process_time() - began)
        velocities = motion.arrive(velocities, result.forces, temperature)
        if step >= EQUILIBRATION and (step + 1 - EQUILIBRATION) % STRIDE == 0:
            m = moments(engine, positions, cell, result.populations)
            frames.append(
                Frame(atoms.numbers, positions.copy(), cell, energy=result.energy, forces=result.forces, moments=m,
                      velocities=velocities.copy(), carrier=engine.parameters.carrier,
                      carrier_sites=(int(m.argmax()),))
            )  # fmt: skip
        positions, velocities = motion.leave(positions, velocities, result.forces, temperature)
    return frames, float(np.median(seconds[EQUILIBRATION:]))


def errors(model: Model, frames: list[Frame]) -> dict:
    """Of energies (eV, whole cell), forces (eV/Angstrom) and moments (mu_B), the model's against the frames' own."""
    answers = predictions(model, frames, batch_size=1)
    energy = np.array([a.energy - f.energy for a, f in zip(answers, frames, strict=True)])
    force, near, moment, share, right = [], [], [], [], 0
    for answer, frame in zip(answers, frames, strict=True):
        [site] = frame.carrier_sites
        _, apart = get_distances(frame.positions[[site]], frame.positions, cell=frame.cell, pbc=True)
        difference = answer.forces - frame.forces
        force.append(difference)
        near.append(difference[apart[0] < NEAR])
        moment.append(answer.moments - frame.moments)
        share.append(answer.moments[site] - frame.moments[site])
        right += int(answer.moments.argmax() == site)
    return {
        "energy_mean_error_eV": float(energy.mean()),
        "energy_scatter_eV": float(energy.std(ddof=1)),
        "forces_eV_per_A": _rms(np.concatenate(force)),
        "forces_near_carrier_eV_per_A": _rms(np.concatenate(near)),
        "moments_mu_B": _rms(np.concatenate(moment)),
        "moment_of_site_mu_B": _rms(np.array(share)),
        "carrier_site_right": right / len(frames),
    }


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


def dynamics(model: Model, start: Frame, temperature: float, steps: int, seed: int) -> dict:
    """NVE of the model from `start` with its velocities: how it ended, drift, hops, CPU seconds of a step."""
    block = min(50, steps // 3)
    config = MDConfig(ensemble="nve", temperatures=(temperature,), steps=steps, block=block, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        simulation = Simulation(config, [start], force_field(model, start.numbers, "float32"), Path(folder), "")
        simulation.resume()
        seconds = []
        while simulation.running:
            began = time.process_time()
            simulation.advance()
            seconds.append((time.process_time() - began) / block)
        [replica] = simulation.finish(0.0)["replicas"]
    return {
        "status": replica["status"],
        "reason": replica["reason"],
        "time_ps": replica["time_fs"] / 1000,
        "mean_temperature_K": replica["mean_temperature"],
        "drift_meV_per_atom_ps": replica["conserved_drift_meV_per_atom_ps"],
        "carrier_moves": replica["flips"],
        "seconds_per_step": min(seconds[1:] or seconds),
    }


def table(rows: list[dict]) -> str:
    """Markdown."""
    head = (
        "atoms", "frames", "energy, mean, meV/atom", "mean, eV", "scatter, eV", "scatter / √N, meV", "forces, meV/Å",
        "near the carrier", "moments, µ_B", "of the site", "site right", "NVE, ps", "drift, meV/atom/ps", "moves",
        "learned, µs/atom", "stand-in, µs/atom",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in rows:
        n, run = r["n_atoms"], r["dynamics"]
        ended = "" if run["status"] == "finished" else f" ({run['status']}: {run['reason']})"
        cells = (
            f"{n}", f"{r['frames']}", f"{1e3 * r['energy_mean_error_eV'] / n:.2f}", f"{r['energy_mean_error_eV']:.3f}",
            f"{r['energy_scatter_eV']:.3f}", f"{1e3 * r['energy_scatter_eV'] / n**0.5:.1f}",
            f"{1e3 * r['forces_eV_per_A']:.1f}", f"{1e3 * r['forces_near_carrier_eV_per_A']:.1f}",
            f"{r['moments_mu_B']:.4f}", f"{r['moment_of_site_mu_B']:.3f}", f"{r['carrier_site_right']:.0%}",
            f"{run['time_ps']:.2f}{ended}", f"{run['drift_meV_per_atom_ps']:.4f}", f"{run['carrier_moves']}",
            f"{1e6 * run['seconds_per_step'] / n:.0f}", f"{1e6 * r['standin_seconds'] / n:.0f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--system", choices=SIZES, default="mgo")
    parser.add_argument("--temperature", type=float, default=600.0, help="K")
    parser.add_argument("--frames", type=int, nargs=3, default=[60, 40, 8], help="of each size")
    parser.add_argument("--steps", type=int, nargs=3, default=[2000, 1000, 200], help="of dynamics at each size")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="a list of results as JSON on the last line")
    arguments = parser.parse_args()
    model, rows = load_model(arguments.model), []
    for repeat, count, steps in zip(SIZES[arguments.system], arguments.frames, arguments.steps, strict=True):
        frames, seconds = thermal_frames(arguments.system, repeat, arguments.temperature, count, arguments.seed)
        rows.append({
            "system": arguments.system, "repeat": repeat, "n_atoms": len(frames[0].numbers), "frames": count,
            "temperature": arguments.temperature, "seed": arguments.seed, "standin_seconds": seconds,
            **errors(model, frames),
            "dynamics": dynamics(model, frames[-1], arguments.temperature, steps, arguments.seed),
        })  # fmt: skip
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(f"\n{table(rows)}")
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
