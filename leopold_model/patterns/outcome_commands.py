"""`leopold patterns correlate | starts | residence`: what was found, as functions, pictures and starts of dynamics."""

from __future__ import annotations

import json

import click
import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice_file import Instance
from leopold_model.patterns.options import JSON, PATH, SEED, SUPERCELL, refuses


@click.command("correlate")
@click.argument("patterns", type=PATH, nargs=-1, required=True)
@click.option("--label", help="Sites, such as Obr; the first that hold the species if not given.")
@click.option("--species", help="What is counted; the first vacancy or dopant if not given.")
@click.option("--axis", type=click.IntRange(0, 2), default=0, show_default=True, help="Parent axis along the rows.")
@click.option("--rows", type=int, default=2, show_default=True, help="Same row, adjacent rows, and so on.")
@click.option("--which", type=click.Choice(["last", "lowest"]), default="last", show_default=True)
@click.option("--plot", type=PATH, help="The functions as PNG, PDF and CSV.")
@click.option("--map", "picture", type=PATH, help="Top view of the lowest configuration as PNG, PDF and CSV.")
@JSON
@refuses
def correlate(patterns, label, species, axis, rows, which, plot, picture, as_json):
    """Autocorrelation of defects along their rows in files of `leopold patterns anneal`; errors are over chains.

    Example: leopold patterns correlate anneal.h5 --map map.png --plot correlation.png
    """
    from leopold_model.patterns.annealing import read_patterns
    from leopold_model.patterns.correlation import autocorrelation
    from leopold_model.plots import correlation_functions, pattern_map

    found, lowest = {}, None
    for path in patterns:
        run = read_patterns(path)
        kind = species or _first_defect(run.instance)
        sites = label or next(name for name, held in run.instance.lattice.allowed.items() if kind in held)
        configurations = run.last if which == "last" else run.lowest
        found[path.stem] = autocorrelation(
            run.supercell, configurations, sites, kind, axis=axis, rows=tuple(range(rows))
        )
        lowest = lowest or run
    if plot:
        correlation_functions(plot, found)
    if picture and lowest is not None:
        best = int(np.argmin(lowest.lowest_energies))
        energy = lowest.lowest_energies[best]
        pattern_map(picture, lowest.supercell, lowest.lowest[best], f"{lowest.instance.lattice.name}, {energy:.3f} eV")
    if as_json:
        click.echo(json.dumps({name: acf.to_dict() for name, acf in found.items()}))
        return
    for name, acf in found.items():
        click.echo(
            f"{name}: {acf.species} on {acf.concentration:.1%} of {acf.label}, {acf.configurations} configurations"
        )
        click.echo("distance  " + "  ".join(f"{'same row' if r == 0 else f'row +-{r}':>14s}" for r in acf.rows))
        for d, values, errors in zip(acf.distances, acf.values.T, acf.errors.T, strict=True):
            pairs = (f"{v:6.2f} +- {e:5.2f}" for v, e in zip(values, errors, strict=True))
            click.echo(f"{d:8d}  " + "  ".join(f"{text:>14s}" for text in pairs))


@click.command("starts")
@click.argument("patterns", type=PATH)
@click.option("--which", type=click.Choice(["last", "lowest"]), default="lowest", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--output", "-o", type=PATH, default="starts.h5", show_default=True)
@JSON
@refuses
def starts(patterns, which, limit, output, as_json):
    """Structures with carrier sites from a file of `leopold patterns anneal`, for
    `aiida-leopold launch dynamics --configurations`: the lowest of each chain, or its last (a draw at its
    temperature).

    Example: leopold patterns starts anneal.h5 --limit 4
    """
    from leopold_model.frames import write_frames
    from leopold_model.patterns.annealing import read_patterns
    from leopold_model.patterns.starts import starting_frames

    found = starting_frames(read_patterns(patterns), which, limit)
    write_frames(output, found)
    if as_json:
        click.echo(json.dumps({"configurations": len(found), "carrier_sites": [f.carrier_sites for f in found]}))
        return
    click.echo(f"{output}: {len(found)} distinct configurations of {len(found[0])} atoms")


@click.command("residence")
@click.argument("model", type=PATH)
@click.argument("tracks", type=PATH, nargs=-1, required=True)
@SUPERCELL
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="K, of dynamics at several.")
@click.option("--timestep", type=float, help="fs between frames, for files of frames.")
@click.option("--chains", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--moves", type=click.IntRange(min=1000), default=100_000, show_default=True, help="Per chain.")
@SEED
@click.option("--plot", type=PATH, help="One against the other as PNG, PDF and CSV.")
@JSON
@refuses
def residence_command(model, tracks, supercell, temperature, timestep, plot, as_json, **settings):
    """Where carriers were in dynamics (TRACKS, as of `leopold hops`) against where MODEL says they are, site by site
    around defects that stay: how far the two agree.

    Example: leopold patterns residence patterns.npz track.h5 --supercell 6x4 --plot residence
    """
    from leopold_model.frames import FrameError
    from leopold_model.hops_command import read_tracks
    from leopold_model.patterns.network import load_pattern_model
    from leopold_model.patterns.residence import residence
    from leopold_model.plots import residence_consistency
    from leopold_model.tracks import TrackError

    learned = load_pattern_model(model)
    try:
        track = read_tracks(tracks, timestep)
    except (TrackError, FrameError, OSError) as error:
        raise PatternError(str(error)) from None
    cell = learned.instance.supercell(supercell)
    found = residence(learned, cell, track, temperature=temperature, **settings)
    if plot:
        residence_consistency(plot, found)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    click.echo(f"{found.replicas} replicas at {found.temperature:.0f} K, {found.elsewhere:.1%} of the time elsewhere")
    click.echo("site   equivalent        dynamics           lattice  -kT ln of the ratio (meV)")
    for k, label in enumerate(found.labels):
        shares = f"{found.dynamics[k]:8.4f} {found.dynamics_errors[k]:7.4f}  {found.lattice[k]:8.4f} "
        click.echo(
            f"{label:6s} {found.sites[k]:10d} {shares}{found.lattice_errors[k]:7.4f}  {1e3 * found.deviations[k]:8.1f}"
        )


def _first_defect(instance: Instance) -> str:
    species = instance.lattice.species
    return next((s.name for s in species if s.kind != "carrier"), species[0].name)
