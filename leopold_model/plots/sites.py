"""Where carriers are: beside a defect, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from leopold_model.plots.style import COLOURS, MARKERS, STYLE, axes_of, save


def defect_correlation(path: Path, rows: Sequence[Mapping]) -> None:
    """Carrier-defect pairs over those of random placement on the allowed sites, and how long a carrier stays.

    Entries, one per temperature: `temperature_K`; `distance_Angstrom`, `sites`, `g`, `error` of every shell (see
    `analysis.populations.Shells`); `residence` by distance of the nearest defect: `distance_Angstrom`, `time_ps`,
    `low_ps`, `high_ps` (None without limit).
    """
    data: dict[str, list] = {
        k: []
        for k in ("temperature_K", "distance_Angstrom", "sites", "g", "error", "residence_ps", "low_ps", "high_ps")
    }
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = axes_of(1, 2, width=7.2, height=3.0)
        for k, row in enumerate(rows):
            colour, marker, stay = COLOURS[k % 6], MARKERS[k % 6], row["residence"]
            label = f"{row['temperature_K']:g} K"
            left.errorbar(
                row["distance_Angstrom"], row["g"], yerr=row["error"], fmt=marker + "-", color=colour, ms=4, lw=1,
                capsize=2, label=label,
            )  # fmt: skip
            time, low, high = (np.array(stay[key], dtype=float) for key in ("time_ps", "low_ps", "high_ps"))
            known = np.isfinite(time)
            where = np.array(stay["distance_Angstrom"])
            right.errorbar(
                where[known], time[known], yerr=[(time - low)[known], (high - time)[known]], fmt=marker, color=colour,
                ms=4, lw=1, capsize=2, label=label,
            )  # fmt: skip
            right.errorbar(where[~known], low[~known], yerr=0.4 * low[~known], lolims=True, fmt="_", color=colour, lw=1)
            by_distance = {d: n for n, d in enumerate(stay["distance_Angstrom"])}
            for n, d in enumerate(row["distance_Angstrom"]):
                m = by_distance.get(d)
                times = [None if m is None else stay[key][m] for key in ("time_ps", "low_ps", "high_ps")]
                values = (row["temperature_K"], d, row["sites"][n], row["g"][n], row["error"][n], *times)
                for column, value in zip(data.values(), values, strict=True):
                    column.append(value)
        left.axhline(1.0, color="0.6", lw=0.8, ls="--", zorder=0)
        left.set(xlabel="distance from defect (Å)", ylabel="pairs / random placement", ylim=(0, None))
        left.set_title("dashed: as if there were no defect", fontsize=8, loc="left")
        right.set(xlabel="distance of the nearest defect (Å)", ylabel="mean residence (ps)", yscale="log")
        right.set_title("95 % intervals; arrows: never left", fontsize=8, loc="left")
        left.legend(fontsize=8)
        save(figure, path, data)


def layer_populations(path: Path, rows: Sequence[Mapping]) -> None:
    """Share of carrier time in every layer across each cell axis. Entries, one per temperature and axis:
    `temperature_K`, `axis` (a, b or c), `height_Angstrom`, `population`, `error`, `random` per layer."""
    names = sorted({row["axis"] for row in rows})
    temperatures = sorted({row["temperature_K"] for row in rows})
    keys = ("height_Angstrom", "population", "error", "random")
    data: dict[str, list] = {k: [] for k in ("axis", "temperature_K", *keys)}
    with matplotlib.rc_context(STYLE):
        figure, panels = axes_of(1, len(names), width=0.8 + 2.4 * len(names), height=2.8, sharey=True)
        for row in rows:
            axes, k = panels[names.index(row["axis"])], temperatures.index(row["temperature_K"])
            height, population, error, random = (np.array(row[key], dtype=float) for key in keys)
            axes.errorbar(
                height, 100 * population, yerr=100 * error, fmt=MARKERS[k % 6] + "-", color=COLOURS[k % 6], ms=4, lw=1,
                capsize=2, label=f"{row['temperature_K']:g} K",
            )  # fmt: skip
            axes.plot(height, 100 * random, color="0.6", lw=0.8, ls="--", zorder=0)
            data["axis"] += [row["axis"]] * len(height)
            data["temperature_K"] += [row["temperature_K"]] * len(height)
            for key in keys:
                data[key] += list(row[key])
        for axes, name in zip(panels, names, strict=True):
            axes.set(xlabel=f"height across {name} (Å)", ylim=(0, None))
        panels[0].set_ylabel("carrier time in the layer (%)")
        panels[0].set_title("dashed: all sites equal", fontsize=8, loc="left")
        panels[-1].legend(fontsize=8)
        save(figure, path, data)


def around_defects(path: Path, rows: Sequence[Mapping]) -> None:
    """Share of carrier time by the distance of the site, of its row and of its plane from the nearest defect. Entries,
    one per temperature, as `analysis.around_defects` makes them."""
    parts = {"distances": "site", "rows": "row", "planes": "plane"}
    shown = [part for part in parts if part in rows[0]]
    keys = ("distance_Angstrom", "sites", "population", "error", "random")
    data: dict[str, list] = {k: [] for k in ("of", "temperature_K", *keys)}
    with matplotlib.rc_context(STYLE):
        figure, drawn = axes_of(1, len(shown), width=0.8 + 2.4 * len(shown), height=2.8)
        panels = list(np.ravel(np.array(drawn, dtype=object)))
        for axes, part in zip(panels, shown, strict=True):
            for k, row in enumerate(rows):
                found = row[part]
                distance, population, error, random = (
                    np.array(found[key], dtype=float) for key in ("distance_Angstrom", "population", "error", "random")
                )
                axes.errorbar(
                    distance, 100 * population, yerr=100 * error, fmt=MARKERS[k % 6] + "-", color=COLOURS[k % 6],
                    ms=4, lw=1, capsize=2, label=f"{row['temperature_K']:g} K",
                )  # fmt: skip
                axes.plot(distance, 100 * random, color="0.6", lw=0.8, ls="--", zorder=0)
                data["of"] += [parts[part]] * len(distance)
                data["temperature_K"] += [row["temperature_K"]] * len(distance)
                for key in keys:
                    data[key] += list(found[key])
            axes.set(xlabel=f"{parts[part]} from defect (Å)", ylim=(0, None))
        panels[0].set_ylabel("carrier time (%)")
        panels[0].set_title("dashed: all sites equal", fontsize=8, loc="left")
        panels[-1].legend(fontsize=8)
        save(figure, path, data)
