"""Learned dynamics against the truth: hop rates per pathway and mobility, side by side, at the same temperatures.

The stand-in is cheap enough to be run for as long as the learned model, which no DFT code is. Both tracks, the model's
and the stand-in's own, go through the same analysis with the same settings, so that only the dynamics differ.

    python benchmarks/closed_loop.py demo/mgo/model.leopold --system mgo --ps 100

prints one table and, with --json, one object on the last line. A rate agrees when it is within 25 % of the reference
and inside the combined 95 % interval (|difference| below 1.96 standard errors of both counts together).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import yaml

from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.sites import host_from_structure
from leopold_model.analysis.transport import transport
from leopold_model.frames import Frame, write_frames
from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.dynamics import Langevin, maxwell
from leopold_model.standin.engine import Engine
from leopold_model.standin.occupations import onsite
from leopold_model.tracks import ReplicaTrack, TrackFile, read_track, write_track

SYSTEMS = {"mgo": ((2, 2, 2), "O"), "tio2": ((2, 2, 4), "Ti")}
TRACKED = 6
FRICTION = 0.002  # 1/fs, both sides
EQUILIBRATION = 1000  # steps, both sides


def cell_of(system: str):
    """The ideal supercell, the sublattice of the carrier, and the atom it starts on."""
    repeat, sublattice = SYSTEMS[system]
    atoms = ideal_cell(system, repeat)
    return atoms, sublattice, next(a.index for a in atoms if a.symbol == sublattice)


def reference(system: str, temperature: float, seed: int, steps: int) -> ReplicaTrack:
    """One trajectory of the stand-in itself, Langevin, 1 fs."""
    atoms, _, site = cell_of(system)
    engine = Engine(atoms.get_chemical_symbols())
    rng = np.random.default_rng(seed)
    masses, cell, positions = atoms.get_masses(), atoms.cell.array, atoms.positions.copy()
    free = np.ones((len(atoms), 3), dtype=bool)
    friction = np.full(len(atoms), 1000 * FRICTION)  # this Langevin takes 1/ps
    motion = Langevin(masses, free, 1.0, friction, rng)
    velocities = maxwell(masses, free, 2 * temperature, rng)
    bias = np.zeros(len(atoms))
    bias[site] = 1.0
    result = engine.evaluate(positions, cell, engine.start(bias), bias=bias)
    sites = np.empty((steps, TRACKED), dtype=np.int32)
    moments = np.empty((steps, TRACKED), dtype=np.float32)
    mean = np.zeros_like(positions)
    for step in range(-EQUILIBRATION, steps):
        # the imposed occupation is held while the lattice takes up the distortion, then let go
        held = bias if step < -EQUILIBRATION // 2 else None
        result = engine.evaluate(positions, cell, result.state, bias=held)
        velocities = motion.arrive(velocities, result.forces, temperature)
        if step >= 0:
            m = onsite(engine, positions, cell, result.populations).moments.sum(axis=1)
            order = np.argsort(-m, kind="stable")[:TRACKED]
            sites[step], moments[step] = order, m[order]
            mean += positions / steps
        positions, velocities = motion.leave(positions, velocities, result.forces, temperature)
    return ReplicaTrack(
        temperature=temperature, replica=seed, timestep=1.0, seed=seed, sites=sites, moments=moments,
        carrier=sites[:, :1], cell=cell, positions=atoms.positions, mean_positions=mean,
    )  # fmt: skip


def _reference(arguments) -> ReplicaTrack:
    return reference(*arguments)


def learned(model: Path, system: str, temperatures, replicas: int, steps: int, seed: int, folder: Path) -> TrackFile:
    """The same with `leopold md`."""
    atoms, _, site = cell_of(system)
    carrier = Engine(atoms.get_chemical_symbols()).parameters.carrier
    start = Frame(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, carrier=carrier,
                  carrier_sites=(site,))  # fmt: skip
    write_frames(folder / "start.h5", [start])
    config = {
        "kind": "md", "model": str(model.resolve()), "temperatures": list(temperatures), "replicas": replicas,
        "steps": steps, "equilibration": EQUILIBRATION, "friction": FRICTION, "n_tracked": TRACKED, "seed": seed,
        "window": {"max_windows": 0},
    }  # fmt: skip
    (folder / "md.yaml").write_text(yaml.safe_dump(config))
    subprocess.run([Path(sys.executable).parent / "leopold", "md", "md.yaml"], cwd=folder, check=True)
    return read_track(folder / "track.h5")


def compare(reference_tracks: TrackFile, learned_tracks: TrackFile, system: str, tau_min: float) -> dict:
    """Rates per pathway and the mobility of both, per temperature."""
    atoms, sublattice, _ = cell_of(system)
    host = host_from_structure(atoms.numbers, atoms.positions, atoms.cell.array, sublattice=sublattice)
    rows, mobilities = [], []
    both = {
        name: build_catalogue(tracks, host, 7.0, tau_min)
        for name, tracks in (("reference", reference_tracks), ("learned", learned_tracks))
    }
    for temperature in reference_tracks.temperatures:
        counts, times = {}, {}
        for name, catalogue in both.items():
            # a pass through a site on the way counts as its legs
            counts[name] = {label: rate.count for label, rate in catalogue.rates(temperature).items() if rate.count}
            times[name] = catalogue.carrier_time(temperature) / 1000
        for pathway in sorted(set(counts["reference"]) | set(counts["learned"])):
            n = {name: counts[name].get(pathway, 0) for name in both}
            rate = {name: n[name] / times[name] for name in both}
            error = np.sqrt(sum(max(n[name], 1) / times[name] ** 2 for name in both))
            rows.append({
                "temperature": temperature, "pathway": pathway,
                "hops_reference": n["reference"], "hops_learned": n["learned"],
                "ps_reference": times["reference"], "ps_learned": times["learned"],
                "rate_reference_per_ps": rate["reference"], "rate_learned_per_ps": rate["learned"],
                "ratio": rate["learned"] / rate["reference"] if n["reference"] else None,
                "within_25_percent": bool(n["reference"]) and abs(rate["learned"] / rate["reference"] - 1) <= 0.25,
                "inside_95_percent": bool(abs(rate["learned"] - rate["reference"]) <= 1.96 * error),
            })  # fmt: skip
        for name, catalogue in both.items():
            found = transport(catalogue, temperature).mobility.isotropic.to_dict()
            mobilities.append({"temperature": temperature, "who": name, "unit": "cm^2/(V s)", **found})
    return {"system": system, "tau_min_fs": tau_min, "rates": rows, "mobility": mobilities}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--system", choices=SYSTEMS, default="mgo")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[600.0, 900.0])
    parser.add_argument("--ps", type=float, default=60.0, help="per temperature, each side")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--tau-min", type=float, default=50.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--reference", type=Path, help="track file of the reference: read if there, else written")
    parser.add_argument("--learned", type=Path, help="the same for the learned dynamics")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    steps = int(1000 * arguments.ps / arguments.replicas)
    started = time.time()
    if arguments.reference and arguments.reference.is_file():
        truth = read_track(arguments.reference)
    else:
        jobs = [
            (arguments.system, t, arguments.seed + 100 * k + i, steps)
            for i, t in enumerate(arguments.temperatures)
            for k in range(arguments.replicas)
        ]
        with ProcessPoolExecutor(arguments.processes) as pool:
            tracks = tuple(pool.map(_reference, jobs))
        atoms, _, _ = cell_of(arguments.system)
        carrier = Engine(atoms.get_chemical_symbols()).parameters.carrier
        truth = TrackFile(atoms.numbers, carrier, 1, tracks)
        if arguments.reference:
            write_track(arguments.reference, truth)
    reference_seconds = time.time() - started
    started = time.time()
    if arguments.learned and arguments.learned.is_file():
        ours = read_track(arguments.learned)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ours = learned(arguments.model, arguments.system, arguments.temperatures, arguments.replicas, steps,
                           arguments.seed, Path(folder))  # fmt: skip
        if arguments.learned:
            write_track(arguments.learned, ours)
    result = compare(truth, ours, arguments.system, arguments.tau_min)
    result |= {"reference_s": reference_seconds, "learned_s": time.time() - started, "seed": arguments.seed}
    print(f"{'T, K':>6} {'pathway':32} {'reference /ps':>22} {'learned /ps':>22} {'ratio':>6}  25 %  95 %")
    for row in result["rates"]:
        print(
            f"{row['temperature']:6.0f} {row['pathway']:32} "
            f"{row['rate_reference_per_ps']:8.3f} ({row['hops_reference']:4d} hops) "
            f"{row['rate_learned_per_ps']:12.3f} ({row['hops_learned']:4d} hops) "
            f"{row['ratio'] if row['ratio'] is not None else float('nan'):6.2f}  "
            f"{'yes' if row['within_25_percent'] else 'no':4}  {'yes' if row['inside_95_percent'] else 'no'}"
        )
    for row in result["mobility"]:
        print(
            f"{row['temperature']:6.0f} mobility, {row['who']:10} {row['value']:.3e} "
            f"({row['low']:.3e} to {row['high']:.3e}) {row['unit']}"
        )
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
