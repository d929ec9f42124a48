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
from leopold_model.analysis.production import transport_summary
from leopold_model.analysis.sites import host_from_structure
from leopold_model.frames import Frame, write_frames
from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.dynamics import Langevin, maxwell
from leopold_model.standin.engine import Engine
from leopold_model.standin.occupations import onsite
from leopold_model.tracks import ReplicaTrack, TrackFile, read_track, write_track

SYSTEMS = {
    "mgo": ((2, 2, 2), "O"),
    "tio2": ((2, 2, 4), "Ti"),
    "tio2_f": ((2, 2, 4), "Ti"),
    "tio2_vo": ((2, 2, 4), "Ti"),
    "anatase": ((3, 3, 1), "Ti"),
}
TRACKED = 6
FRICTION = 0.002  # 1/fs, both sides
EQUILIBRATION = 1000  # steps, both sides


def cell_of(system: str):
    """The supercell, the sublattice of the carriers, and the atoms they start on: as many as its defect brings."""
    crystal, _, defect = system.partition("_")
    repeat, sublattice = SYSTEMS[system]
    atoms = ideal_cell(crystal, repeat)
    oxygen = atoms.symbols.search("O")[0]
    if defect == "f":  # F on the first oxygen, its block last
        atoms.symbols[oxygen] = "F"
        atoms = atoms[[*(k for k in range(len(atoms)) if k != oxygen), oxygen]]
    elif defect == "vo":  # without it; its electrons on two sites where they can stay
        del atoms[oxygen]
        return atoms, sublattice, (2, 6)
    return atoms, sublattice, (next(a.index for a in atoms if a.symbol == sublattice),)


def host_of(system: str):
    """The perfect crystal."""
    atoms, sublattice, _ = cell_of(system.partition("_")[0])
    return host_from_structure(atoms.numbers, atoms.positions, atoms.cell.array, sublattice=sublattice)


def engine_of(system: str) -> Engine:
    """The stand-in; crystals and parameter sets have the same names."""
    atoms, _, start = cell_of(system)
    return Engine(atoms.get_chemical_symbols(), n_carriers=len(start), parameters=system.partition("_")[0])


def trajectory(system: str, temperature: float, seed: int, steps: int):
    """The stand-in's own dynamics, Langevin, 1 fs: positions (n, 3) Angstrom and moments (n,) mu_B of every step."""
    atoms, _, start = cell_of(system)
    engine = engine_of(system)
    rng = np.random.default_rng(seed)
    masses, cell, positions = atoms.get_masses(), atoms.cell.array, atoms.positions.copy()
    free = np.ones((len(atoms), 3), dtype=bool)
    friction = np.full(len(atoms), 1000 * FRICTION)  # this Langevin takes 1/ps
    motion = Langevin(masses, free, 1.0, friction, rng)
    velocities = maxwell(masses, free, 2 * temperature, rng)
    bias = np.zeros(len(atoms))
    bias[list(start)] = 1.0
    result = engine.evaluate(positions, cell, engine.start(bias), bias=bias)
    for step in range(-EQUILIBRATION, steps):
        # the imposed occupation is held while the lattice takes up the distortion, then let go
        held = bias if step < -EQUILIBRATION // 2 else None
        result = engine.evaluate(positions, cell, result.state, bias=held)
        velocities = motion.arrive(velocities, result.forces, temperature)
        if step >= 0:
            yield positions, onsite(engine, positions, cell, result.populations).moments.sum(axis=1)
        positions, velocities = motion.leave(positions, velocities, result.forces, temperature)


def reference(system: str, temperature: float, seed: int, steps: int) -> ReplicaTrack:
    """One trajectory of the stand-in itself."""
    atoms, _, start = cell_of(system)
    sites = np.empty((steps, TRACKED), dtype=np.int32)
    moments = np.empty((steps, TRACKED), dtype=np.float32)
    mean = np.zeros_like(atoms.positions)
    for step, (positions, m) in enumerate(trajectory(system, temperature, seed, steps)):
        order = np.argsort(-m, kind="stable")[:TRACKED]
        sites[step], moments[step] = order, m[order]
        mean += positions / steps
    return ReplicaTrack(
        temperature=temperature, replica=seed, timestep=1.0, seed=seed, sites=sites, moments=moments,
        carrier=sites[:, : len(start)], cell=atoms.cell.array, positions=atoms.positions, mean_positions=mean,
    )  # fmt: skip


def _reference(arguments) -> ReplicaTrack:
    return reference(*arguments)


def learned(model: Path, system: str, temperatures, replicas: int, steps: int, seed: int, folder: Path) -> TrackFile:
    """The same with `leopold md`."""
    atoms, _, sites = cell_of(system)
    carrier = engine_of(system).parameters.carrier
    start = Frame(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, carrier=carrier,
                  carrier_sites=sites)  # fmt: skip
    write_frames(folder / "start.h5", [start])
    config = {
        "kind": "md", "model": str(model.resolve()), "temperatures": list(temperatures), "replicas": replicas,
        "steps": steps, "equilibration": EQUILIBRATION, "friction": FRICTION, "n_tracked": TRACKED, "seed": seed,
        "window": {"max_windows": 0},
    }  # fmt: skip
    (folder / "md.yaml").write_text(yaml.safe_dump(config))
    subprocess.run([Path(sys.executable).parent / "leopold", "md", "md.yaml"], cwd=folder, check=True)
    return read_track(folder / "track.h5")


def compare(reference_tracks: TrackFile, learned_tracks: TrackFile, system: str, tau_min: float, seed: int) -> dict:
    """What `leopold transport` says of both, and the rates per pathway and temperature beside each other."""
    host = host_of(system)
    found = {}
    for who, tracks in (("reference", reference_tracks), ("learned", learned_tracks)):
        catalogue = build_catalogue(tracks, host, 7.0, tau_min)
        found[who] = transport_summary(catalogue, seed=seed)
    rows = []
    both = zip(found["reference"]["temperatures"], found["learned"]["temperatures"], strict=True)
    for truth, ours in both:
        for pathway in sorted(truth["rates"] | ours["rates"]):
            a, b = (side["rates"].get(pathway, {"count": 0}) for side in (truth, ours))
            if not a["count"] and not b["count"]:
                continue
            ps = {"reference": truth["carrier_time_fs"] / 1e3, "learned": ours["carrier_time_fs"] / 1e3}
            rate = {"reference": a["count"] / ps["reference"], "learned": b["count"] / ps["learned"]}
            error = np.hypot(np.sqrt(max(a["count"], 1)) / ps["reference"], np.sqrt(max(b["count"], 1)) / ps["learned"])
            rows.append({
                "temperature": truth["temperature_K"], "pathway": pathway,
                "hops_reference": a["count"], "hops_learned": b["count"],
                "rate_reference_per_ps": rate["reference"], "rate_learned_per_ps": rate["learned"],
                "ratio": rate["learned"] / rate["reference"] if a["count"] else None,
                "within_25_percent": bool(a["count"]) and abs(rate["learned"] / rate["reference"] - 1) <= 0.25,
                "inside_95_percent": bool(abs(rate["learned"] - rate["reference"]) <= 1.96 * error),
            })  # fmt: skip
    return {"system": system, "tau_min_fs": tau_min, "rates": rows, **found}


def report(result: dict) -> str:
    """The tables, as Markdown."""
    lines = [
        "| T, K | pathway | reference, 1/ps (hops) | learned, 1/ps (hops) | ratio | 25 % | 95 % |",
        "|---" * 7 + "|",
    ]
    for row in result["rates"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(
            f"| {row['temperature']:g} | {row['pathway']} "
            f"| {row['rate_reference_per_ps']:.3f} ({row['hops_reference']}) "
            f"| {row['rate_learned_per_ps']:.3f} ({row['hops_learned']}) | {ratio} "
            f"| {'yes' if row['within_25_percent'] else 'no'} | {'yes' if row['inside_95_percent'] else 'no'} |"
        )
    lines += ["", "| T, K | quantity | reference | learned | intervals overlap |", "|---" * 5 + "|"]
    truth, ours = result["reference"], result["learned"]
    for a, b in zip(truth["temperatures"], ours["temperatures"], strict=True):
        of = f"| {a['temperature_K']:g} "
        name = "mobility_isotropic_cm2_per_Vs"
        lines.append(of + _beside("mobility, cm2/(V s)", a[name], b[name]))
        # cubic or tetragonal along z: symmetry leaves these two
        for axis, k in (("x", 0), ("z", 2)):
            lines.append(of + _beside(f"D_{axis}{axis}, cm2/s", *(_component(side, k) for side in (a, b))))
    for name, of in [("arrhenius", "D"), *((key, key) for key in truth["arrhenius_rates"])]:
        fits = [side["arrhenius_rates"].get(name, side.get(name)) for side in (truth, ours)]
        if all(fits):
            energies = [fit["energy_eV"] for fit in fits]
            lines.append("| all " + _beside(f"Ea of {of}, eV", *energies))
    return "\n".join(lines)


def _component(row: dict, k: int) -> dict[str, float]:
    """Diagonal element of the diffusion tensor with its interval."""
    return {key: row["diffusion_cm2_per_s"][key][k][k] for key in ("value", "low", "high")}


def _beside(name: str, a: dict, b: dict) -> str:
    overlap = a["low"] <= b["high"] and b["low"] <= a["high"]
    numbers = [f"{x['value']:.3g} ({x['low']:.3g} to {x['high']:.3g})" for x in (a, b)]
    return f"| {name} | {numbers[0]} | {numbers[1]} | {'yes' if overlap else 'no'} |"


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
        atoms, _, sites = cell_of(arguments.system)
        carrier = engine_of(arguments.system).parameters.carrier
        truth = TrackFile(atoms.numbers, carrier, len(sites), tracks)
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
    result = compare(truth, ours, arguments.system, arguments.tau_min, arguments.seed)
    result |= {"reference_s": reference_seconds, "learned_s": time.time() - started, "seed": arguments.seed}
    print(report(result))
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
