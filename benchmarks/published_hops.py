"""Where the carriers of the published models hop: share of hops per pathway, with 95 % intervals, at each temperature.

    leopold convert TiO2.pkl tio2.leopold                                  # model and structure from the paper's data
    python benchmarks/published_hops.py tio2.leopold exact_TiO2.xyz --temperatures 900 --ps 40 --replicas 4

Langevin dynamics with the published rule for the charge state, from a structure the model was published with. The hops
are ours: committed ones, on the site for `--tau-min` at least, by class of the host's space group. Beside each share
stands how it depends on that stay, because the published rule lets the charge state flicker where two sites share.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from scipy.stats import binomtest

from leopold_model.config import MDConfig
from leopold_model.frames import read_frames, write_frames
from leopold_model.hops_command import catalogue_of, table
from leopold_model.md import run as run_md
from leopold_model.tracks import TrackFile, read_track, write_track

STAYS = (20.0, 50.0, 100.0)  # fs


def dynamics(model: Path, structures: Path, temperatures, ps: float, replicas: int, seed: int) -> TrackFile:
    """The track of every replica; ends with a message when a run did not reach its end."""
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "start.h5", read_frames(structures)[:1])
        config = MDConfig(
            model=str(model.resolve()), temperatures=tuple(temperatures), replicas=replicas,
            steps=int(1000 * ps / replicas), equilibration=1000, charge_update="published", seed=seed,
            window={"max_windows": 0},
        )  # fmt: skip
        for replica in run_md(config, folder)["replicas"]:
            if replica["status"] != "finished":
                print(f"ended early: {replica}")
        return read_track(Path(folder) / "track.h5")


def shares(track: TrackFile, tau_min: float) -> list[dict]:
    """Hops per class and temperature, with their share of all and its interval (Wilson)."""
    catalogue = catalogue_of(track, None, None, tau_min, 7.0)
    rows = []
    for temperature in catalogue.temperatures:
        counts = catalogue.counts(temperature)
        total = sum(counts.values())
        for name, count in counts.items():
            if count:
                found = binomtest(count, total).proportion_ci(method="wilson")
                rows.append({"temperature_K": temperature, "tau_min_fs": tau_min, "pathway": name, "hops": count,
                             "share": count / total, "low": found.low, "high": found.high})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("structures", type=Path)
    parser.add_argument("--temperatures", type=float, nargs="+", required=True)
    parser.add_argument("--ps", type=float, default=40.0, help="per temperature, over all replicas")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--track", type=Path, help="track file: read if there, else written")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.track and arguments.track.is_file():
        track = read_track(arguments.track)
    else:
        track = dynamics(arguments.model, arguments.structures, arguments.temperatures, arguments.ps,
                         arguments.replicas, arguments.seed)  # fmt: skip
        if arguments.track:
            write_track(arguments.track, track)
    rows = [row for tau_min in STAYS for row in shares(track, tau_min)]
    print("| T, K | stay, fs | pathway | hops | share, % (95 %) |", "|---" * 5 + "|", sep="\n")
    for row in rows:
        percent = "{:.1f} ({:.1f} to {:.1f})".format(*(100 * row[key] for key in ("share", "low", "high")))
        print(f"| {row['temperature_K']:g} | {row['tau_min_fs']:g} | {row['pathway']} | {row['hops']} | {percent} |")
    print(table(catalogue_of(track, None, None, 50.0, 7.0)))
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
