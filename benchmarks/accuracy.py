"""Accuracy on labels of the published models: our default network beside the published one, trained the same way.

    leopold convert MgO.pkl mgo.leopold                                     # the teachers, from the paper's data
    python benchmarks/accuracy.py labels mgo.leopold exact_MgO.xyz labels/mgo --temperatures 300 600
    python benchmarks/accuracy.py train labels/mgo --frames 25 50 100 200 [--variants default published]
        [--options '{learning_rate: 0.01, network: {vectors: 16}}'] [--plot mgo.png] [--json]
    python benchmarks/accuracy.py floor mgo.leopold labels/mgo              # what no O(3) network can learn of them

`labels` runs the teacher's own dynamics (Langevin, its own charge update, 1 fs) from a structure it was published with
and keeps every 20th step with the teacher's energy, forces and occupations in float64, made self-consistent as those of
a DFT code are. `train` learns from the first part of the colder run and tests on its last part, at least half a
picosecond later, and on the hotter run, which is never trained on. Both variants get the same frames, order, optimiser,
loss and number of gradient steps. `--plot FILE.png` draws the learning curve and writes its rows to FILE.json; rows of
other variants and numbers of frames in that file are kept, so that a long curve can be measured in parts. `--json`
prints the rows on the last line. `floor` compares the teacher's answer to each frame with the one to its mirror image.
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
import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure

from leopold_model.checkpoint import Model, load_model
from leopold_model.config import MDConfig, TrainConfig
from leopold_model.evaluate import evaluate_frames, predictions
from leopold_model.frames import Frame, carrier_sites, read_frames, write_frames
from leopold_model.md import run as run_md
from leopold_model.plots.style import COLOURS, MARKERS, STYLE
from leopold_model.tracks import read_track
from leopold_model.train import run as run_training

STRIDE = 20  # fs between labels
TEST = 60  # frames at the end of the colder run
GAP = 25  # frames between training and test: at least half a picosecond
SHARED = 0.3  # moment of the second site over the first from which on a frame counts as one of a hop
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
    return consistent(model, told)


def consistent(model: Model, told: list[Frame]) -> list[Frame]:
    """`told` with the labels of `model`, as a DFT code would give them: the carrier is where the moment is largest.

    The teacher's dynamics visits frames that it answers with another site than it was told. Such a frame is told that
    other site; one that is answered with yet another, back and forth for ever, has no charge state and is left out.
    """
    frames: list[Frame] = []
    for _ in range(2):
        answers = predictions(model, told)
        told = [
            replace(frame, energy=answer.energy, forces=answer.forces, occupations=answer.occupations)
            for frame, answer in zip(told, answers, strict=True)
        ]
        seen = [carrier_sites(answer.moments, 1) for answer in answers]
        pairs = list(zip(told, seen, strict=True))
        frames += [frame for frame, sites in pairs if sites == frame.carrier_sites]
        told = [replace(frame, carrier_sites=sites) for frame, sites in pairs if sites != frame.carrier_sites]
        if not told:
            break
    return sorted(frames, key=lambda frame: frame.step)


def floor(model: Model, frames: list[Frame]) -> tuple[float, float]:
    """Root mean squares, forces in eV/Angstrom and occupations in e, of the part of the labels that changes under a
    mirror: half the difference of a frame from its image. The published models are not symmetric under it.

    Rotations they do keep, so inversion stands for every mirror.
    """
    answers = predictions(model, [replace(frame, positions=-frame.positions) for frame in frames])
    forces = [(f.forces + a.forces) / 2 for f, a in zip(frames, answers, strict=True)]
    occupations = [(f.occupations - a.occupations) / 2 for f, a in zip(frames, answers, strict=True)]
    return float(np.sqrt(np.mean(np.square(forces)))), float(np.sqrt(np.mean(np.square(occupations))))


def learn(labels: Path, variant: str, n_frames: int, budget: int, seed: int, other: dict) -> dict:
    """Errors of one training on `n_frames` frames spread evenly over what lies before the gap; the last tenth of them
    validates. `other` are keys of the training configuration."""
    cold, hot = read_frames(labels / "cold.h5"), read_frames(labels / "hot.h5")
    train, later = cold[: -TEST - GAP], cold[-TEST:]
    train = train[:: len(train) // n_frames][:n_frames]
    validation = train[len(train) - max(2, n_frames // 10) :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder / "frames.h5", train[: -len(validation)])
        write_frames(folder / "validation.h5", validation)
        options = {
            "validation": "validation.h5", "epochs": max(1, budget // n_frames), "batch_size": 2, "seed": seed,
            "crossings": {"lag": 0, "sharing": 100.0}, **other, "network": VARIANTS[variant] | other.get("network", {}),
        }  # fmt: skip
        (folder / "train.yaml").write_text(yaml.safe_dump(options))
        begin = time.perf_counter()
        result = run_training(TrainConfig.model_validate(options), folder)
        seconds = time.perf_counter() - begin
        model = load_model(folder / "model.leopold")
    row = {"variant": variant, "frames": n_frames, "epochs": result["epochs"], "seconds": round(seconds)}
    for part, frames in {"later": later, "hotter": hot}.items():
        report = evaluate_frames(model, frames)[0]
        hops = [frame for frame in frames if shared(frame)]
        row[part] = {
            **summary(report),
            "uncertainty": report.get("uncertainty", {}),
            "hop_frames": {"number": len(hops)} | (summary(evaluate_frames(model, hops)[0]) if hops else {}),
        }
    return row


def shared(frame: Frame) -> bool:
    """Whether two sites share the carrier, as they do in a hop."""
    first, second = np.sort(frame.spin_moments)[::-1][:2]
    return second > SHARED * first


def summary(report: dict) -> dict:
    return {
        "forces_meV_per_A": round(1e3 * report["forces"]["rmse"], 2),
        "energy_meV_per_atom": round(1e3 * report["energy_per_atom"]["rmse"], 3),
        "occupations": round(report["occupations"]["rmse"], 5),
        "carrier_site": report["carrier_site_accuracy"],
    }


def plot(path: Path, rows: list[dict]) -> None:
    """Errors over the number of frames, one panel for each part, one line for each variant."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, part in ((left, "later"), (right, "hotter")):
            for variant, colour, marker in zip(VARIANTS, COLOURS, MARKERS, strict=False):
                points = sorted((r["frames"], r[part]["forces_meV_per_A"]) for r in rows if r["variant"] == variant)
                if points:
                    axes.loglog(*zip(*points, strict=True), color=colour, marker=marker, ms=4, label=variant)
            numbers = sorted({row["frames"] for row in rows})
            axes.set_xticks(numbers, [str(n) for n in numbers])
            axes.minorticks_off()
            axes.set(xlabel="frames", title=part)
        low, high = left.get_ylim()
        ticks = [t for t in (10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300) if low <= t <= high]
        left.set_yticks(ticks, [str(t) for t in ticks])
        left.set_ylabel("force RMSE (meV/\u00c5)")
        left.legend()
        figure.savefig(path)


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
    train.add_argument(
        "--options", type=yaml.safe_load, default={}, help="other keys of the training, YAML in one line"
    )
    train.add_argument("--plot", type=Path, metavar="FILE.png", help="learning curve; its rows go to FILE.json")
    train.add_argument("--json", action="store_true")
    mirror = verbs.add_parser("floor")
    mirror.add_argument("model", type=Path)
    mirror.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.verb == "floor":
        model = load_model(args.model).astype("float64")
        for name in ("cold", "hot"):
            forces, occupations = floor(model, read_frames(args.folder / f"{name}.h5")[::5])  # a sample will do
            print(f"{name}: mirror-odd part of forces {1e3 * forces:.2f} meV/A, of occupations {occupations:.5f}")
        return
    if args.verb == "labels":
        args.folder.mkdir(parents=True, exist_ok=True)
        for name, temperature, number in zip(("cold", "hot"), args.temperatures, (args.cold_frames, HOT), strict=True):
            frames = teach(args.model, args.structures, temperature, number, args.seed)
            write_frames(args.folder / f"{name}.h5", frames)
            spread = np.std([f.forces for f in frames])
            print(f"{args.folder}/{name}.h5: {len(frames)} frames at {temperature:g} K, forces {spread:.3f} eV/A rms")
        return
    kept = args.plot.with_suffix(".json") if args.plot else None
    rows = json.loads(kept.read_text()) if kept and kept.exists() else []
    print(f"{'variant':10s} {'frames':>6s} {'s':>5s}  forces meV/A, occupations, site: later | hotter")
    for n_frames in sorted(args.frames, reverse=True):
        for variant in args.variants:
            row = learn(args.folder, variant, n_frames, args.budget, args.seed, args.options)
            rows = [r for r in rows if (r["variant"], r["frames"]) != (variant, n_frames)] + [row]
            if kept:
                kept.write_text(json.dumps(rows, indent=1))
                plot(args.plot, rows)
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
