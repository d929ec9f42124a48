"""`leopold plot`: every figure that a track or a result file allows."""

from __future__ import annotations

import json
from pathlib import Path

import click

from leopold_model import figures
from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.production import transport_summary
from leopold_model.frames import FrameError
from leopold_model.hops_command import catalogue_of, read_tracks, with_catalogue_options
from leopold_model.tracks import TrackError


@click.command("plot")
@with_catalogue_options
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("figures"), show_default=True)
def command(trajectories, host, species, tau_min, cutoff, timestep, folder):
    """Figures of TRAJECTORY: tracks (track.h5 or trajectory.h5 of `leopold md`),
    frames of first-principles dynamics, or what `leopold hops`, `leopold
    transport` or `leopold barrier` wrote with --json. Each is written as PDF and PNG, its numbers beside it as CSV.

    Example: leopold plot track.h5 --folder paper
    """
    try:
        if trajectories[0].suffix == ".json":
            found = {caption: name for path in trajectories for caption, name in of_result(folder, path).items()}
        else:
            track = read_tracks(trajectories, timestep)
            catalogue = catalogue_of(track, host, species, tau_min, cutoff)
            summary = transport_summary(catalogue)
            folder.mkdir(parents=True, exist_ok=True)
            found = figures.of_hops(folder, catalogue) | figures.of_transport(folder, summary)
            found |= figures.of_track(folder, track, catalogue)
    except (TrackError, AnalysisError, FrameError) as error:
        raise SystemExit(f"leopold plot: {error}") from None
    for caption, name in found.items():
        click.echo(f"{folder / name}  {caption}")


def of_result(folder: Path, path: Path) -> figures.Figures:
    """Those of a result in JSON, told by its keys."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AnalysisError(f"{path} cannot be read as JSON: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    if "crossing" in result:
        return figures.of_barrier(folder, result)
    if "arrhenius" in result:
        return figures.of_transport(folder, result)
    if result.get("format") == "leopold-catalogue":
        catalogue = Catalogue.from_dict(result)
        rows = [{"temperature_K": r["temperature"], "rates": r["pathways"]} for r in catalogue.to_dict()["rates"]]
        return figures.of_hops(folder, catalogue) | figures.of_rates(folder, rows)
    raise AnalysisError(f"{path}: not the JSON of `leopold hops`, `leopold transport` or `leopold barrier`")
