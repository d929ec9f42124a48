"""Figures of patterns: maps seen from above, and correlation functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from leopold_model.patterns.correlation import Autocorrelation
from leopold_model.patterns.supercell import Supercell
from leopold_model.plots.style import COLOURS, MARKERS, STYLE, axes_of, save

if TYPE_CHECKING:  # numba behind it takes a second to load
    from leopold_model.patterns.residence import Residence

WIDEST = 8.0  # inches


def pattern_map(path: Path, supercell: Supercell, occupations: np.ndarray, title: str = "") -> None:
    """Top view of one configuration (n_sites,): a line for every row of sites along the first parent axis, a dot for
    every site of the uppermost labels, a marker for every defect by label and species. Lengths in Angstrom."""
    lattice, occupations = supercell.lattice, supercell.check(occupations)
    span = supercell.vectors[:2, :2]
    extent = np.abs(span).sum(axis=0)
    width = WIDEST if extent[0] >= 0.8 * extent[1] else WIDEST * max(0.45, extent[0] / extent[1])
    size = 72 * (width - 0.8) / extent[0] * 2.6  # points: a marker is about a [001] site wide
    fractional = supercell.positions @ np.linalg.inv(supercell.vectors)
    flat = (fractional % 1.0 @ supercell.vectors)[:, :2]
    columns: dict[str, list] = {name: [] for name in ("site", "label", "species", "x_A", "y_A", "z_A")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=width, height=0.9 + (width - 0.8) * extent[1] / extent[0])
        axes.scatter(flat[:, 0], flat[:, 1], s=(0.12 * size) ** 2, c="0.75", linewidths=0, zorder=1)
        for y in np.unique(np.round(flat[supercell.positions[:, 2] > supercell.positions[:, 2].max() - 0.5, 1], 3)):
            axes.axhline(y, color="0.85", lw=0.2 * size, zorder=0, solid_capstyle="butt")
        shown = 0
        # deep ones first, so that the surface lies on top
        depth = [supercell.positions[supercell.labels == name, 2].mean() for name in dict.fromkeys(lattice.site_labels)]
        labels = list(dict.fromkeys(lattice.site_labels))
        for k in np.argsort(depth, kind="stable"):
            for name in lattice.allowed[labels[k]]:
                species = lattice.species[lattice.code(name) - 1]
                here = np.flatnonzero((supercell.labels == labels[k]) & (occupations == lattice.code(name)))
                hollow = species.kind == "vacancy"
                axes.scatter(
                    flat[here, 0],
                    flat[here, 1],
                    s=(0.6 * size) ** 2,
                    marker=MARKERS[shown % len(MARKERS)] if not hollow else "o",
                    facecolors="white" if hollow else COLOURS[shown % len(COLOURS)],
                    edgecolors="black" if hollow else "white",
                    linewidths=0.13 * size if hollow else 0.04 * size,
                    zorder=2 + shown,
                    label=f"{name} {labels[k]} ({len(here)})",
                )
                shown += 1
                for site in here:
                    row = (int(site), labels[k], name, *np.round((*flat[site], supercell.positions[site, 2]), 4))
                    for column, value in zip(columns.values(), row, strict=True):
                        column.append(value)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ span
        axes.plot(*corners.T, color="0.4", lw=0.8, zorder=1)
        pad = 0.01 * extent.max()
        axes.set(xlim=(corners[:, 0].min() - pad, corners[:, 0].max() + pad), aspect="equal")
        axes.set(ylim=(corners[:, 1].min() - pad, corners[:, 1].max() + pad))
        axes.set(xlabel="x (Å)", ylabel="y (Å)")
        legend = figure.legend(loc="outside upper center", ncols=4, fontsize=8, title=title or None)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_sizes([28.0])  # type: ignore[attr-defined]
        save(figure, path, columns)


def correlation_functions(path: Path, found: Mapping[str, Autocorrelation]) -> None:
    """g(d) in the same and in the adjacent row, each run by its name, with standard errors over its configurations."""
    data: dict[str, list] = {name: [] for name in ("run", "row", "distance", "value", "error")}
    first = next(iter(found.values()))
    with matplotlib.rc_context(STYLE):
        figure, panels = axes_of(1, len(first.rows), width=3.2 * len(first.rows), height=2.8)
        for k, (name, acf) in enumerate(found.items()):
            style: dict[str, Any] = {
                "color": COLOURS[k % 6],
                "fmt": MARKERS[k % 6] + "-",
                "ms": 4,
                "lw": 1,
                "capsize": 2,
            }
            for panel, row, values, errors in zip(panels, acf.rows, acf.values, acf.errors, strict=True):
                start = 1 if row == 0 else 0  # g_0(0) = 1/c says nothing
                shown = np.where(np.isnan(errors), 0.0, errors)
                panel.errorbar(acf.distances[start:], values[start:], yerr=shown[start:], label=name, **style)
                for column, entry in zip(
                    data.values(),
                    ([name] * len(values), [row] * len(values), acf.distances, values, errors),
                    strict=True,
                ):
                    column.extend(entry)
        for panel, row in zip(panels, first.rows, strict=True):
            panel.axhline(1.0, color="0.7", lw=0.8, zorder=0)
            panel.set_title(
                "same row" if row == 0 else "adjacent rows" if row == 1 else f"{row} rows apart", fontsize=9
            )
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set(xlabel="distance (sites)", ylabel=f"$g$ of {first.species}", ylim=(0, None))
        if len(found) > 1:
            panels[0].legend(fontsize=8)
        save(figure, path, data)


def concentration_sweep(path: Path, found: Mapping[str, Autocorrelation]) -> None:
    """Where g peaks in each row against the share of sites occupied, one point per annealed area; the line is the mean
    spacing of defects in a row."""
    runs = sorted(found.values(), key=lambda acf: acf.concentration)
    shares = np.array([acf.concentration for acf in runs])
    data: dict[str, list] = {name: [] for name in ("row", "concentration", "peak_sites", "g")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=2.8)
        for k, row in enumerate(runs[0].rows):
            peaks = [acf.peak(k) for acf in runs]
            name = "same row" if row == 0 else f"row ±{row}"
            axes.plot(shares, peaks, MARKERS[k % 6] + "-", color=COLOURS[k % 6], ms=5, lw=1, label=name)
            heights = [float(acf.values[k, p]) for acf, p in zip(runs, peaks, strict=True)]
            rows: tuple = ([row] * len(runs), shares, peaks, heights)
            for column, entry in zip(data.values(), rows, strict=True):
                column.extend(entry)
        dense = np.linspace(shares.min(), shares.max(), 100)
        axes.plot(dense, 1 / dense, color="0.7", lw=0.8, zorder=0, label="mean spacing")
        axes.set(xlabel=f"share of {runs[0].label} sites with {runs[0].species}", ylabel="distance of the peak (sites)")
        axes.set(ylim=(0, None))
        axes.legend(fontsize=8)
        save(figure, path, data)


def measured_overlay(path: Path, found: Mapping[str, Autocorrelation], measured: Mapping) -> None:
    """g of annealed areas and of measured positions (`Measured.to_dict`) against the distance in mean spacings: sites
    times the share of occupied sites, so that areas of different density can be held beside each other."""
    data: dict[str, list] = {name: [] for name in ("run", "row", "distance", "scaled_distance", "value", "error")}
    curves = [(name, acf.concentration, acf.rows, acf.distances, acf.values, acf.errors) for name, acf in found.items()]
    values, errors = (np.array(measured[key], dtype=float) for key in ("values", "errors"))
    share = measured["concentration"]
    curves.append(("measured", share, tuple(measured["rows"]), np.array(measured["distances"]), values, errors))
    rows = [row for row in curves[0][2] if row in measured["rows"]]
    with matplotlib.rc_context(STYLE):
        figure, panels = axes_of(1, len(rows), width=3.2 * len(rows), height=2.8)
        for k, (name, share, own, distances, values, errors) in enumerate(curves):
            style: dict[str, Any] = {"fmt": MARKERS[k % 6] + "-", "ms": 4, "lw": 1, "capsize": 2}
            style["color"] = "black" if name == "measured" else COLOURS[k % 6]
            for panel, row in zip(panels, rows, strict=True):
                r, start = own.index(row), 1 if row == 0 else 0
                shown = np.where(np.isnan(errors[r]), 0.0, errors[r])
                style["label"] = f"{name} ({share:.0%})"
                panel.errorbar(distances[start:] * share, values[r, start:], yerr=shown[start:], **style)
                n = len(distances)
                entries = ([name] * n, [row] * n, distances, distances * share, values[r], errors[r])
                for column, entry in zip(data.values(), entries, strict=True):
                    column.extend(entry)
        for panel, row in zip(panels, rows, strict=True):
            panel.axhline(1.0, color="0.7", lw=0.8, zorder=0)
            panel.set_title(
                "same row" if row == 0 else "adjacent rows" if row == 1 else f"{row} rows apart", fontsize=9
            )
            panel.set(xlabel="distance (mean spacings)", ylabel="$g$", ylim=(0, None))
        panels[0].legend(fontsize=8)
        save(figure, path, data)


def confirmed_energies(path: Path, rounds: Mapping[int, tuple[list[float], list[float]]], unit: str = "eV") -> None:
    """Energies predicted by the model that suggested a configuration, and confirmed by the reference, by round."""
    data: dict[str, list] = {name: [] for name in ("round", "predicted_eV", "confirmed_eV")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.4, height=3.2)
        everything = [value for pair in rounds.values() for values in pair for value in values]
        ends = (min(everything), max(everything))
        axes.plot(ends, ends, color="0.7", lw=0.8, zorder=0)
        for k, (number, (predicted, confirmed)) in enumerate(sorted(rounds.items())):
            axes.plot(
                confirmed, predicted, MARKERS[k % 6], color=COLOURS[k % 6], ms=5, mec="white", label=f"round {number}"
            )
            rows: tuple = ([number] * len(predicted), predicted, confirmed)
            for column, entry in zip(data.values(), rows, strict=True):
                column.extend(entry)
        axes.set(xlabel=f"confirmed ({unit})", ylabel=f"predicted ({unit})", aspect="equal")
        axes.legend(fontsize=8)
        save(figure, path, data)


def residence_consistency(path: Path, found: Residence) -> None:
    """Share of carriers on each kind of site in dynamics against its Boltzmann weight on the lattice, on logarithmic
    axes with standard errors; kinds that one of both never saw lie on the axis."""
    lowest = min(x[x > 0].min() for x in (found.dynamics, found.lattice) if (x > 0).any())
    floor = 10 ** np.floor(np.log10(lowest / 2))
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=3.4)
        axes.plot([floor, 1], [floor, 1], color="0.7", lw=0.8, zorder=0)
        for k, label in enumerate(dict.fromkeys(found.labels)):
            here = np.array([name == label for name in found.labels])
            x, y = (np.maximum(v[here], floor) for v in (found.lattice, found.dynamics))
            dx, dy = (np.nan_to_num(v[here]) for v in (found.lattice_errors, found.dynamics_errors))
            style: dict[str, Any] = {"fmt": MARKERS[k % 6], "color": COLOURS[k % 6], "ms": 5, "capsize": 2, "lw": 1}
            axes.errorbar(x, y, xerr=dx, yerr=dy, label=label, **style)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1), aspect="equal")
        axes.set(xlabel=f"Boltzmann weight on the lattice, {found.temperature:.0f} K", ylabel="residence in dynamics")
        axes.legend(fontsize=8)
        columns = {
            "label": found.labels,
            "sites": found.sites,
            "dynamics": found.dynamics,
            "dynamics_error": found.dynamics_errors,
            "lattice": found.lattice,
            "lattice_error": found.lattice_errors,
            "deviation_eV": found.deviations,
        }
        save(figure, path, columns)
