"""`leopold hops`: committed hops and pathway classes of a carrier track."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from ase.data import chemical_symbols

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, build_catalogue
from leopold_model.analysis.sites import Host, host_from_dynamics, host_from_structure
from leopold_model.frame_tracks import track_of_frames
from leopold_model.frames import FrameError, holds_frames, read_frames, write_frames
from leopold_model.hop_frames import all_frames
from leopold_model.structures import StructureError, read_structure
from leopold_model.tracks import TrackError, TrackFile, merge, read_track

POSITIVE = click.FloatRange(min=0.0, min_open=True)


OPTIONS = (
    click.argument("trajectories", metavar="TRAJECTORY...", nargs=-1, required=True, type=click.Path(path_type=Path)),
    click.option(
        "--host",
        type=click.Path(path_type=Path),
        help="Perfect crystal, oriented as the run (POSCAR, CIF ...).",
    ),
    click.option("--species", help="Element that carries the charge; taken from the track if not given."),
    click.option("--tau-min", type=POSITIVE, default=50.0, show_default=True, help="Shortest stay that counts, fs."),
    click.option("--cutoff", type=POSITIVE, default=7.0, show_default=True, help="Longest pathway to list, Angstrom."),
    click.option("--timestep", type=POSITIVE, help="Of first-principles dynamics given as frames (POTIM), fs."),
)


def with_catalogue_options(command):
    """The options from which `catalogue_of` makes a catalogue."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command("hops")
@with_catalogue_options
@click.option("--frames", type=click.Path(path_type=Path), help="Write structures across the hops there (.h5, .xyz).")
@click.option("--json", "as_json", is_flag=True, help="The whole catalogue as one JSON object.")
def command(trajectories, host, species, tau_min, cutoff, timestep, frames, as_json):
    """Hops along each TRAJECTORY, by symmetry-inequivalent pathway.

    A TRAJECTORY is track.h5 or trajectory.h5 of `leopold md`, or the frames of first-principles dynamics, every step of
    them, as `leopold import-vasp --frames` writes them.

    Examples: leopold hops track.h5 --frames hops.xyz; leopold hops fpmd.h5 --timestep 1
    """
    try:
        tracks = read_tracks(trajectories, timestep)
        catalogue = catalogue_of(tracks, host, species, tau_min, cutoff)
        found = list(all_frames(tracks, catalogue)) if frames else []
        if found:
            write_frames(frames, found)
    except (TrackError, AnalysisError, FrameError) as error:
        raise SystemExit(f"leopold hops: {error}") from None
    click.echo(json.dumps(catalogue.to_dict()) if as_json else table(catalogue))
    if frames:
        where = f" -> {frames}" if found else ": the track kept no window around them (window.max_windows)"
        click.echo(f"{len(found)} structures across hops{where}", err=True)


def read_tracks(paths: tuple[Path, ...], timestep: float | None = None) -> TrackFile:
    """The replicas of all files as one track, numbered through; `timestep` (fs) is that of files of frames."""
    merged = merge([_read(path, timestep) for path in paths])
    if len(paths) == 1:
        return merged
    return replace(merged, replicas=tuple(replace(r, replica=k) for k, r in enumerate(merged.replicas)))


def _read(path: Path, timestep: float | None) -> TrackFile:
    if not holds_frames(path):
        return read_track(path)
    if timestep is None:
        raise TrackError(f"{path} holds frames, which do not say how far they are apart: give --timestep, fs per step")
    return track_of_frames(read_frames(path), timestep)


def catalogue_of(track: TrackFile, host: Path | None, species: str | None, tau_min: float, cutoff: float) -> Catalogue:
    """The hops of a track; the host and the carrier's element are found from the run where not given."""
    species = species or carrier_species(track)
    crystal = host_of(track, species) if host is None else read_host(host, species)
    return build_catalogue(track, crystal, cutoff, tau_min, run="hop")


def carrier_species(track: TrackFile) -> str:
    """The element that held the carriers most of the time."""
    leading: Counter[int] = Counter()
    for replica in track.replicas:
        sites, steps = np.unique(replica.sites[:, : track.n_carriers], return_counts=True)
        for site, count in zip(sites, steps, strict=True):
            leading[int(track.numbers[site])] += int(count)
    if not leading:
        raise TrackError("the track is empty (0 steps): no production step was recorded; run longer")
    return chemical_symbols[leading.most_common(1)[0][0]]


def host_of(track: TrackFile, species: str) -> Host:
    """The crystal behind the mean (or else the first) structure of the run, symmetrised."""
    if not track.replicas:
        raise TrackError("the track holds no replica: nothing was run; give track.h5 of a run with steps")
    first = track.replicas[0]
    if species not in {chemical_symbols[z] for z in track.numbers}:
        present = ", ".join(sorted({chemical_symbols[z] for z in track.numbers}))
        raise AnalysisError(f"--species {species}: not among the atoms of the track: choose one of {present}")
    positions = first.positions if first.mean_positions is None else first.mean_positions
    try:
        return host_from_dynamics(track.numbers, positions, first.cell, sublattice=species)
    except AnalysisError as error:
        raise AnalysisError(f"{error} with --host") from None


def read_host(path: Path, species: str) -> Host:
    """The host from a structure file (see `structures`); initial moments in it are the host's magnetic order."""
    try:
        atoms = read_structure(path)
    except StructureError as error:
        raise AnalysisError(f"--host {error}") from None
    moments = atoms.get_initial_magnetic_moments()
    return host_from_structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        sublattice=species,
        moments=moments if np.any(moments) else None,
    )


def counts_line(counts: dict) -> str:
    """What `Catalogue.count_table` found, in words."""
    by_tau = ", ".join(f"{tau}: {n}" for tau, n in counts["by_tau_min_fs"].items())
    merged = counts["unresolved_fs"]
    relayed = f" and {counts['relayed']} by way of another site (each leg is in its class)" if counts["relayed"] else ""
    return (
        f"{counts['changes']} changes of the leading site, {counts['excursions']} excursions (back before tau_min), "
        f"{counts['hops']} hops, {counts['back']} of them back{relayed}; hops by tau_min (fs): {by_tau}"
        + (f"; carriers merged or lost for {merged:g} fs" if merged else "")
    )


def table(catalogue: Catalogue) -> str:
    """The catalogue as plain text; rates in 1/ps with 95 % intervals."""
    host = catalogue.host
    lines = [catalogue.summary, f"host {host.space_group}, {len(host.numbers)} atoms per primitive cell"]
    lines.append(f"tau_min {catalogue.tau_min:g} fs, back-hops within {catalogue.return_time:g} fs")
    lines.append(counts_line(catalogue.count_table()))
    width = max((len(p.name) for p in catalogue.pathways), default=8)
    for temperature in catalogue.temperatures:
        lines += ["", f"{temperature:g} K, {catalogue.carrier_time(temperature) / 1e3:.1f} ps of carrier time"]
        lines.append(f"{'pathway':{width}}  {'hops':>6}  {'rate 1/ps':>9}  95 % interval")
        for name, rate in catalogue.rates(temperature).items():
            low, high = (x * 1e3 for x in (rate.low, rate.high))
            text = f"{low:.3g} - {high:.3g}" if rate.count else f"< {high:.3g}"
            lines.append(f"{name:{width}}  {rate.count:6d}  {rate.rate * 1e3:9.3g}  {text}")
    seen = [p for p in catalogue.pathways if p.hops]
    if seen:
        lines += ["", f"{'pathway':{width}}  {'hops':>6}  {'back':>6}  {'adiabatic':>9}"]
        lines += [f"{p.name:{width}}  {p.hops:6d}  {p.back:6d}  {p.adiabatic / p.hops:9.0%}" for p in seen]
    folded = [p.name for p in catalogue.pathways if p.resolvable == 0]
    if folded:
        lines += ["", "this supercell cannot show: " + ", ".join(folded)]
    return "\n".join(lines)
