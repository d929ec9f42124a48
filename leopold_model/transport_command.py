"""`leopold transport`: rates, diffusion and mobility with intervals, and the activation energy, of a carrier track."""

from __future__ import annotations

import json

import click

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.production import transport_summary
from leopold_model.frames import FrameError
from leopold_model.hops_command import catalogue_of, counts_line, read_tracks, with_catalogue_options
from leopold_model.tracks import TrackError


@click.command("transport")
@with_catalogue_options
@click.option("--samples", type=click.IntRange(min=50), default=1000, show_default=True, help="Behind every interval.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the samples.")
@click.option("--json", "as_json", is_flag=True, help="Everything, tensors included, as one JSON object.")
def command(trajectories, host, species, tau_min, cutoff, timestep, samples, seed, as_json):
    """Transport of the carriers along each TRAJECTORY (track.h5 or trajectory.h5 of `leopold md`, or frames of
    first-principles dynamics), at each temperature.

    Several trajectories of the same atoms count as replicas.

    Example: leopold transport 300K/track.h5 600K/track.h5 900K/track.h5 --tau-min 50
    """
    try:
        catalogue = catalogue_of(read_tracks(trajectories, timestep), host, species, tau_min, cutoff)
        summary = transport_summary(catalogue, seed=seed, n_samples=samples)
    except (TrackError, AnalysisError, FrameError) as error:
        raise SystemExit(f"leopold transport: {error}") from None
    click.echo(json.dumps(summary | {"seed": seed}) if as_json else table(summary))


def table(summary: dict) -> str:
    """The summary as plain text, with 95 % intervals."""
    lines = [summary["summary"], f"a hop: at least {summary['hops_counted_with']['tau_min_fs']:g} fs on the new site"]
    for row in summary["temperatures"]:
        lines += ["", f"{row['temperature_K']:g} K, {row['carrier_time_fs'] / 1e3:.1f} ps of carrier time"]
        lines.append(counts_line(row["counts"]))
        for name, rate in row["rates"].items():
            if rate["count"]:
                lines.append(f"{name}  {rate['count']} hops  {_interval(rate, 'rate_per_ps')} per ps")
        plane = " of the plane" if "in_plane" in row else ""
        lines.append(
            f"mobility   {_interval(row['mobility_isotropic_cm2_per_Vs'])} cm^2/(V s), mean of the axes{plane}"
        )
        lines.append(f"diffusion  {_interval(row['diffusion_isotropic_cm2_per_s'])} cm^2/s")
        ratio = row["principal"]["anisotropy"]
        lines.append(
            "anisotropy " + (f"{ratio:.3g}, largest over smallest" if ratio else "no diffusion along one axis")
        )
        if isinstance(row["msd"], str):
            lines.append(f"msd        {row['msd']}")
        else:
            lines.append(f"msd        correlation factor {_interval(row['msd']['correlation_factor'])}")
    for layers in summary["layers"]:
        lines += ["", f"{layers['temperature_K']:g} K, layer by layer"]
        found = layers["layers"]
        for name, share, random in zip(found["layer"], found["population"], found["random"], strict=True):
            lines.append(f"{name}  {share:.3f} of the time, {random:.3f} of the sites")
        for name, rate in layers["hops"].items():
            if rate["count"]:
                lines.append(f"{name}  {rate['count']} hops  {_interval(rate, 'rate_per_ps')} per ps")
    lines.append("")
    if summary["arrhenius"] is None:
        return "\n".join([*lines, f"activation energy: {summary['arrhenius_missing']}"])
    fits = [(summary[name], "") for name in ("arrhenius", "arrhenius_mobility")]
    fits += [(found, f", {name}") for name, found in summary["arrhenius_rates"].items()]
    for found, of in fits:
        value, low, high = (round(found["energy_eV"][key], 3) + 0.0 for key in ("value", "low", "high"))
        lines.append(f"activation energy {value:.3f} ({low:.3f} to {high:.3f}) eV from {found['quantity']}{of}")
    curved = summary["arrhenius"]["curved"]
    if curved is not None:
        lines.append("ln D is curved: no single activation energy" if curved else "ln D is straight within its errors")
    return "\n".join(lines)


def _interval(estimate: dict, value: str = "value") -> str:
    low, high = estimate["interval_per_ps"] if value == "rate_per_ps" else (estimate["low"], estimate["high"])
    return f"{estimate[value]:.3g} ({low:.3g} to {high:.3g})"
