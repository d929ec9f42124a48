"""Accuracy on labels of the published models: our default network beside the published one, trained the same way.

    leopold convert MgO.pkl mgo.leopold                                     # the teachers, from the paper's data
    python benchmarks/accuracy.py labels mgo.leopold exact_MgO.xyz labels/mgo --temperatures 300 600
    python benchmarks/accuracy.py train labels/mgo --frames 25 50 100 200 [--variants default published] [--json]

`labels` runs the teacher's own dynamics (Langevin, its own charge update, 1 fs) from a structure it was published with
and keeps every 20th step with the teacher's energy, forces and occupations in float64. `train` learns from the first
part of the colder run and tests on its last part, half a picosecond later, and on the hotter run, which is never
trained on. Both variants get the same frames, order, optimiser, loss and number of gradient steps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import h5py
import numpy as np
import yaml

from leopold_model.checkpoint import load_model
from leopold_model.config import MDConfig, TrainConfig
from leopold_model.evaluate import evaluate_frames, predictions
from leopold_model.frames import Frame, read_frames, write_frames
from leopold_model.md import run as run_md
from leopold_model.tracks import read_track
from leopold_model.train import run as run_training

STRIDE = 20  # fs between labels
TEST = 60  # frames at the end of the colder run
GAP = 25  # frames between training and test: half a picosecond
HOT = 120  # frames of the hotter run
VARIANTS = {
    "default": {},
    "published": {"variant": "published", "scalars": 42, "vectors": 8, "radial_hidden": [16, 16]},
    "ensemble": {"ensemble": 8},  # the default one with eight readout heads
}


def teach(model_file: Path, structures: Path, temperature: float, n_frames: int, seed: int) -> list[Frame]:
    """Frames of one trajectory of the teacher, with its labels."""
    model = load_model(model_file).astype("float64")
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "start.h5", read_frames(structures)[:1])
        config = MDConfig(
            model=str(model_file.resolve()), temperatures=(temperature,), steps=n_frames * STRIDE, equilibration=1000,
            stride=STRIDE, charge_update="published", seed=seed, window={"max_windows": 0},
        )  # fmt: skip
        result = run_md(config, folder)
        track = read_track(Path(folder) / "track.h5").replicas[0]
        with h5py.File(Path(folder) / "trajectory.h5") as h5:
            group = h5["particles/replica_000/position"]
            positions, steps = group["value"][()].astype(float), group["step"][()]
    if result["replicas"][0]["status"] != "finished":
        raise SystemExit(f"the teacher's dynamics at {temperature:g} K ended early: {result['replicas'][0]}")
    first = read_frames(structures)[0]
    told = [
        replace(
            first, positions=x, forces=None, occupations=None, energy=np.nan, velocities=None,
            carrier_sites=(int(track.carrier[step, 0]),), temperature=temperature, run=f"{temperature:g} K",
            step=int(step),
        )
        for x, step in zip(positions, steps, strict=True)
    ]  # fmt: skip
    return [
        replace(frame, energy=answer.energy, forces=answer.forces, occupations=answer.occupations)
        for frame, answer in zip(told, predictions(model, told), strict=True)
    ]


def learn(labels: Path, variant: str, n_frames: int, budget: int, seed: int) -> dict:
    """Errors of one training on the last `n_frames` before the gap: recent ones, whatever their number."""
    cold, hot = read_frames(labels / "cold.h5"), read_frames(labels / "hot.h5")
    train, later = cold[: -TEST - GAP], cold[-TEST:]
    train = train[:: len(train) // n_frames][:n_frames]
    validation = train[len(train) - max(2, n_frames // 10) :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder / "frames.h5", train[: -len(validation)])
        write_frames(folder / "validation.h5", validation)
        options = {
            "validation": "validation.h5", "epochs": max(1, budget // n_frames), "network": VARIANTS[variant],
            "crossings": {"lag": 0, "sharing": 100.0}, "seed": seed, "batch_size": 2,
        }  # fmt: skip
        (folder / "train.yaml").write_text(yaml.safe_dump(options))
        begin = time.perf_counter()
        result = run_training(TrainConfig.model_validate(options), folder)
        seconds = time.perf_counter() - begin
        model = load_model(folder / "model.leopold")
        reports = {"later": evaluate_frames(model, later)[0], "hotter": evaluate_frames(model, hot)[0]}
    row = {"variant": variant, "frames": n_frames, "epochs": result["epochs"], "seconds": round(seconds)}
    for part, report in reports.items():
        row[part] = {
            "forces_meV_per_A": round(1e3 * report["forces"]["rmse"], 2),
            "energy_meV_per_atom": round(1e3 * report["energy_per_atom"]["rmse"], 3),
            "occupations": round(report["occupations"]["rmse"], 5),
            "carrier_site": report["carrier_site_accuracy"],
            "uncertainty": report.get("uncertainty", {}),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("labels")
    make.add_argument("model", type=Path)
    make.add_argument("structures", type=Path)
    make.add_argument("folder", type=Path)
    make.add_argument("--temperatures", type=float, nargs=2, required=True, metavar=("COLD", "HOT"))
    make.add_argument("--cold-frames", type=int, default=300)
    make.add_argument("--seed", type=int, default=0)
    train = verbs.add_parser("train")
    train.add_argument("folder", type=Path)
    train.add_argument("--variants", nargs="+", default=["default", "published"], choices=list(VARIANTS))
    train.add_argument("--frames", type=int, nargs="+", default=[25, 50, 100, 200])
    train.add_argument("--budget", type=int, default=12000, help="frames seen in training, repeats counted")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.verb == "labels":
        args.folder.mkdir(parents=True, exist_ok=True)
        for name, temperature, number in zip(("cold", "hot"), args.temperatures, (args.cold_frames, HOT), strict=True):
            frames = teach(args.model, args.structures, temperature, number, args.seed)
            write_frames(args.folder / f"{name}.h5", frames)
            spread = np.std([f.forces for f in frames])
            print(f"{args.folder}/{name}.h5: {len(frames)} frames at {temperature:g} K, forces {spread:.3f} eV/A rms")
        return
    rows = []
    print(f"{'variant':10s} {'frames':>6s} {'s':>5s}  forces meV/A, occupations, site: later | hotter")
    for n_frames in sorted(args.frames, reverse=True):
        for variant in args.variants:
            row = learn(args.folder, variant, n_frames, args.budget, args.seed)
            rows.append(row)
            shown = " | ".join(
                f"{row[p]['forces_meV_per_A']:7.1f} {row[p]['occupations']:.4f} {100 * row[p]['carrier_site']:5.1f} %"
                for p in ("later", "hotter")
            )
            print(f"{variant:10s} {n_frames:6d} {row['seconds']:5d}  {shown}", flush=True)
            for part in ("later", "hotter"):
                for name, told in row[part]["uncertainty"].items():
                    ece, rank = told["expected_calibration_error"], told["rank_correlation"]
                    print(f"    {part} {name}: expected calibration error {ece:.3f}, rank correlation {rank:.2f}")
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
