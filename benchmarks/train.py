"""What a training on the stand-in's labels gives and costs: held-out errors over the number of frames, and times.

    python benchmarks/train.py [--system mgo|tio2] [--protocol fast|balanced|stringent] [--frames 50 100 400] [--json]

The stand-in runs Langevin dynamics at 600 and 900 K; every tenth step is a label. Two runs at each temperature train, a
further one at each is held out: no frame of it, nor of its trajectory, is ever seen. Network and schedule are those of
the protocol, with the number of steps kept when there are fewer frames. `--json` prints one object on the last line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import yaml

from leopold_model import network
from leopold_model.config import TrainConfig
from leopold_model.frames import Frame, carrier_sites, write_frames
from leopold_model.loss import loss
from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.dynamics import Langevin, maxwell
from leopold_model.standin.engine import Engine
from leopold_model.standin.occupations import onsite
from leopold_model.train import run
from leopold_model.training import Training

REPEATS = {"mgo": (2, 2, 2), "tio2": (2, 2, 4)}
TEMPERATURES = (600.0, 900.0)
PROTOCOLS = Path(__file__).parent.parent / "leopold_workflows" / "protocols" / "train.yaml"


def labels(system: str, temperature: float, seed: int, n_frames: int, stride: int = 10) -> list[Frame]:
    """One trajectory of the stand-in, labelled every `stride` steps of 1 fs after 1 ps of equilibration."""
    atoms = ideal_cell(system, REPEATS[system])
    engine, rng = Engine(atoms.get_chemical_symbols()), np.random.default_rng(seed)
    masses, cell, positions = atoms.get_masses(), atoms.cell.array, atoms.positions.copy()
    free = np.ones((len(atoms), 3), dtype=bool)
    motion = Langevin(masses, free, 1.0, np.full(len(atoms), 5.0), rng)
    velocities = maxwell(masses, free, 2 * temperature, rng)
    bias = np.zeros(len(atoms))
    bias[rng.choice([a.index for a in atoms if a.symbol == engine.parameters.site_species])] = 1.0
    state, frames = engine.start(bias), []
    for step in range(-1000, n_frames * stride):
        # the imposed occupation is held while the lattice takes up the distortion, then let go
        result = engine.evaluate(positions, cell, state, bias=bias if step < -500 else None)
        state = result.state
        velocities = motion.arrive(velocities, result.forces, temperature)
        if step >= 0 and step % stride == 0:
            seen = onsite(engine, positions, cell, result.populations)
            moments = seen.moments.sum(axis=1)
            traces = [[np.trace(up), np.trace(down)] for up, down in zip(seen.up, seen.down, strict=True)]
            frames.append(
                Frame(
                    numbers=atoms.numbers, positions=positions, cell=cell, energy=result.energy, forces=result.forces,
                    stress=result.stress, occupations=np.array(traces), moments=moments, source="fpmd",
                    carrier=engine.parameters.carrier, carrier_sites=carrier_sites(moments, 1), step=step,
                    run=f"{temperature:g} K, seed {seed}", temperature=temperature, converged=result.converged,
                )
            )  # fmt: skip
        positions, velocities = motion.leave(positions, velocities, result.forces, temperature)
    return frames


def protocol(name: str) -> dict:
    """Keys of the training configuration this protocol sets."""
    data = yaml.safe_load(PROTOCOLS.read_text())
    return data["default_inputs"]["parameters"] | (data["protocols"][name] or {}).get("parameters", {})


def step_times(config: TrainConfig, frames: list[Frame]) -> dict[str, float]:
    """CPU milliseconds of one energy-and-forces evaluation and of one gradient of the loss on five frames."""
    training = Training(config, frames[:5], frames[:1])
    data, params = training.train_data[0][0], {**training.state.params, "scales": training.scales}
    one = jax.tree.map(lambda a: a[0], data)
    pairs = (one.vectors, one.senders, one.receivers, one.edge_mask, one.species, one.charge)
    evaluate = jax.jit(lambda p: network.evaluate(p, training.spec, *pairs).forces)
    gradient = jax.jit(jax.grad(lambda p: loss(p, training.spec, config.loss, data)[0]))
    return {"energy_forces_ms": _fastest(partial(evaluate, params)), "gradient_ms": _fastest(partial(gradient, params))}


def _fastest(call, seconds: float = 3.0) -> float:
    jax.block_until_ready(call())
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        jax.block_until_ready(call())
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=REPEATS, default="mgo")
    parser.add_argument("--protocol", choices=["fast", "balanced", "stringent"], default="fast")
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    per_run = -(-max(options.frames) // 4)
    runs = [labels(options.system, t, seed, per_run) for t in TEMPERATURES for seed in (1, 2)]
    held_out = [f for t in TEMPERATURES for f in labels(options.system, t, 3, 50)]
    settings = protocol(options.protocol)
    rows = []
    print(f"{options.system}, {len(held_out[0])} atoms, {options.protocol}; held-out runs at {TEMPERATURES} K")
    print("frames  forces meV/A  energy meV/atom  moments mu_B  site %  wall s  CPU s")
    for n in options.frames:
        train = [f for r in runs for f in r[: n // 4]]
        config = settings | {"test": "test.h5", "epochs": max(1, settings["epochs"] * max(options.frames) // n)}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_frames(folder / "frames.h5", train)
            write_frames(folder / "test.h5", held_out)
            cpu = time.process_time()
            result = run(TrainConfig.model_validate(config), folder)
        test = result["errors"]["test"]
        rows.append(
            {"frames": len(train), "errors": test, "wall_s": result["wall_time_s"], "cpu_s": time.process_time() - cpu}
        )
        print(
            f"{len(train):6d}{1e3 * test['forces']['rmse']:14.1f}{1e3 * test['energy_per_atom']['rmse']:17.3f}"
            f"{test['moments']['rmse']:14.4f}{100 * test['carrier_site_accuracy']:8.1f}{result['wall_time_s']:8.0f}"
            f"{rows[-1]['cpu_s']:7.0f}"
        )
    times = step_times(TrainConfig.model_validate(settings), runs[0])
    print(
        f"one energy and forces {times['energy_forces_ms']:.2f} ms, gradient on 5 frames {times['gradient_ms']:.1f} ms"
    )
    if options.json:
        atoms = len(held_out[0])
        print(json.dumps({"system": options.system, "n_atoms": atoms, "dtype": "float32", "rows": rows, **times}))


if __name__ == "__main__":
    main()
