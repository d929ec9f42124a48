"""Every figure that results allow, into one folder. Each function returns caption -> file name of what it drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from leopold_model import plots
from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.defects import defect_distances, has_defects
from leopold_model.analysis.populations import (
    DIGITS,
    layer_populations,
    leaving_rates,
    occupancy,
    pair_correlation,
)
from leopold_model.analysis.rates import PER_PS
from leopold_model.analysis.sites import Host, SiteMap, map_sites
from leopold_model.plots.strip import HopPictures
from leopold_model.tracks import ReplicaTrack, TrackFile

Figures = dict[str, str]


def of_hops(folder: Path, catalogue: Catalogue) -> Figures:
    """Where the hops go, the share of every class at each temperature; how many there are by the stay asked for."""
    if not catalogue.n_hops:
        return {}
    rows = [{"temperature_K": t, "counts": catalogue.counts(t)} for t in catalogue.temperatures]
    plots.direction_shares(folder / "directions.png", rows)
    rows = [{"temperature_K": t, **catalogue.count_table(t)} for t in catalogue.temperatures]
    plots.hops_by_stay(folder / "tau_min.png", rows, catalogue.tau_min)
    return {"Share of hops per direction": "directions.png", "Hops by the stay that makes one": "tau_min.png"}


def of_rates(folder: Path, rows: Sequence[Mapping]) -> Figures:
    """Rates per class; `rows` with `temperature_K` and `rates` as `Transport.to_dict` has them."""
    plots.hop_rates(folder / "rates.png", rows)
    return {"Hop rates with 95 % intervals": "rates.png"}


def of_transport(folder: Path, summary: Mapping) -> Figures:
    """Rates, mobility, its fit, its directions and D(lag), of what `analysis.production.transport_summary` makes."""
    rows = summary["temperatures"]
    found = of_rates(folder, rows)
    isotropic = [{"temperature_K": row["temperature_K"], **row["mobility_isotropic_cm2_per_Vs"]} for row in rows]
    plots.mobility(folder / "mobility.png", isotropic, summary.get("arrhenius"))
    found["Mobility with 95 % interval"] = "mobility.png"
    if any(row["n_hops"] for row in rows):
        plots.polar_mobility(folder / "mobility_directions.png", rows)
        found["Mobility along the directions of three planes"] = "mobility_directions.png"
    if any(isinstance(row["msd"], Mapping) for row in rows):
        plots.diffusion_plateau(folder / "diffusion_lag.png", rows)
        found["Diffusion coefficient against lag"] = "diffusion_lag.png"
    if summary.get("around_defects"):
        plots.around_defects(folder / "around_defects.png", summary["around_defects"])
        found["Carrier time by distance from the defects"] = "around_defects.png"
    return found


def of_barrier(folder: Path, hop: Mapping) -> Figures:
    """Energies and moments along one hop, as `leopold barrier --json` gives it."""
    if "energy_i" not in hop and hop["reference"] is None:
        return {}
    plots.hop_barrier(folder / "barrier.png", hop)
    return {"Energies and moments along the hop": "barrier.png"}


def of_track(folder: Path, track: TrackFile, catalogue: Catalogue) -> Figures:
    """Where the carriers are: layers, the neighbourhood of defects, and one hop in pictures."""
    runs = [(r, _mapped(track, r, catalogue.host)) for r in track.replicas if len(r)]
    if not runs:
        return {}
    plots.layer_populations(folder / "layers.png", _layers(runs))
    found = {"Carrier time layer by layer": "layers.png"}
    sites = runs[0][1]
    if has_defects(sites):
        plots.defect_correlation(folder / "defects.png", _defects(runs, catalogue))
        found["Carrier-defect correlation over the allowed sites"] = "defects.png"
    return found | of_pictures(folder, pictured(track, catalogue))


def of_pictures(folder: Path, hop: HopPictures | None) -> Figures:
    """One hop as a strip and as an animation."""
    if hop is None:
        return {}
    plots.hop_strip(folder / "hop.png", hop)
    plots.hop_animation(folder / "hop.gif", hop)
    return {"A hop, the atoms filled by their moments": "hop.png"}


def pictured(track: TrackFile, catalogue: Catalogue) -> HopPictures | None:
    """A hop of the most frequent class that begins and ends within a stored window, without detours and near its
    middle if there is such a one; None where no window has any."""
    hops = {(r.replica, r.temperature): r.table.hops for r in catalogue.replicas}
    found = []
    for replica, windows in ((r, r.windows) for r in track.replicas if r.windows is not None):
        for hop in hops.get((replica.replica, replica.temperature), ()):
            row = hop.time / replica.timestep
            for w, steps in enumerate(windows.step):
                leading = windows.moments[w].argmax(axis=1)
                if steps[0] <= row <= steps[-1] and (leading[0], leading[-1]) == (hop.i, hop.j):
                    often = catalogue.seen.index(hop.pathway.split(" + ")[0])
                    astray = np.count_nonzero(~np.isin(leading, (hop.i, hop.j)))
                    rank = (len(hop.legs), often, astray, abs(steps.mean() - row))
                    found.append((rank, replica, windows, w, hop))
    if not found:
        return None
    _, replica, windows, w, hop = min(found, key=lambda candidate: candidate[0])
    times = windows.step[w] * replica.timestep - hop.time
    return HopPictures(
        times, track.numbers, replica.cell, windows.positions[w], windows.moments[w], hop.i, hop.j, hop.pathway
    )


def _mapped(track: TrackFile, replica: ReplicaTrack, host: Host) -> SiteMap:
    positions = replica.positions if replica.mean_positions is None else replica.mean_positions
    return map_sites(host, track.numbers, positions, replica.cell)


def _by_temperature(runs) -> dict[float, list[tuple[ReplicaTrack, SiteMap]]]:
    return {t: [run for run in runs if run[0].temperature == t] for t in sorted({r.temperature for r, _ in runs})}


def _occupancies(runs: Sequence[tuple[ReplicaTrack, SiteMap]]) -> np.ndarray:
    """(r, n), by the largest moments of every step."""
    return np.array([occupancy(r.sites[:, : r.carrier.shape[1]], len(sites.positions)) for r, sites in runs])


def _layers(runs) -> list[dict]:
    rows = []
    for temperature, group in _by_temperature(runs).items():
        for axis, name in enumerate("abc"):
            found = layer_populations(_occupancies(group), group[0][1], axis)
            rows.append(
                {"temperature_K": temperature, "axis": name, "height_Angstrom": found.height.tolist(),
                 "population": found.population.tolist(), "error": found.error.tolist(),
                 "random": found.random.tolist()}
            )  # fmt: skip
    return rows


def _defects(runs, catalogue: Catalogue) -> list[dict]:
    rows = []
    for temperature, group in _by_temperature(runs).items():
        sites = group[0][1]
        distances = defect_distances(sites)
        found = pair_correlation(_occupancies(group), distances, sites.carrier_atoms)
        tables = [r.table for r in catalogue.replicas if r.temperature == temperature]
        rows.append(
            {"temperature_K": temperature, "distance_Angstrom": found.distance.tolist(), "sites": found.sites.tolist(),
             "g": found.g.tolist(), "error": found.g_error.tolist(), "residence": _residence(tables, distances)}
        )  # fmt: skip
    return rows


def _residence(tables, distances: np.ndarray) -> dict:
    """Mean residence times (ps) by distance of the nearest defect; where it was never left only the lower limit."""
    nearest = np.round(distances.min(axis=0), DIGITS)
    levels = np.unique(nearest)
    rates = leaving_rates(tables, np.searchsorted(levels, nearest).tolist())
    return {
        "distance_Angstrom": [float(levels[k]) for k in rates],
        "time_ps": [1 / (r.rate * PER_PS) if r.count else None for r in rates.values()],
        "low_ps": [1 / (r.high * PER_PS) for r in rates.values()],
        "high_ps": [1 / (r.low * PER_PS) if r.count else None for r in rates.values()],
    }
