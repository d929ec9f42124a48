"""Figures of learning: what was labelled, and errors round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.spatial import cKDTree

from leopold_model.plots.style import BLUE, COLOURS, MARKERS, ORANGE, STYLE, axes_of, save


def pathway_bars(path: Path, pathways: Sequence[Mapping]) -> None:
    """Committed hops and verified labels per class; `pathways` entries have `name`, `hops`, `verified_labels`.
    Classes without either are only counted."""
    shown = [p for p in pathways if p["hops"] or p.get("verified_labels")]
    shown = sorted(shown, key=lambda p: p["hops"])
    unseen = len(pathways) - len(shown)
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = axes_of(1, 2, height=0.9 + 0.32 * max(len(shown), 2), sharey=True)
        rows = np.arange(len(shown))
        for axes, key, colour, label in (
            (left, "hops", BLUE, "committed hops"),
            (right, "verified_labels", ORANGE, "verified labels"),
        ):
            values = [p.get(key, 0) for p in shown]
            bars = axes.barh(rows, values, color=colour, height=0.7)
            axes.bar_label(bars, [str(v) for v in values], padding=3)
            axes.set_xlabel(label)
            axes.margins(x=0.15)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        left.set_yticks(rows, [p["name"] for p in shown])
        if unseen:
            right.set_title(f"{unseen} further classes below the cutoff: no hop", fontsize=8, loc="right")
        names = ("name", "hops", "verified_labels")
        save(figure, path, {name: [p.get(name, 0) for p in pathways] for name in names})


def round_errors(path: Path, rounds: Sequence[Mapping]) -> None:
    """Errors of the model round by round. Entries have `round` and any of `train`, `validation`, `test` (objects
    `forces`, `occupations` with `rmse`; `carrier_site_accuracy`) and `new_labels`, `holdout` (`forces` in
    eV/Angstrom, `carrier_site_accuracy`)."""
    sets = ("train", "validation", "test", "new_labels", "holdout")
    labels = {"new_labels": "new labels, before training", "holdout": "hop frames held out", "test": "held-out run"}
    panels = (
        ("forces", "force RMSE (meV/Å)", 1000.0),
        ("occupations", "occupation RMSE (e)", 1.0),
        ("carrier_site_accuracy", "carrier site right (%)", 100.0),
    )
    data: dict[str, list] = {"round": [row["round"] for row in rounds]}
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(1, 3, width=8.4, height=2.6)
        for panel, (key, label, factor) in zip(axes, panels, strict=True):
            for name, colour, marker in zip(sets, COLOURS, MARKERS, strict=False):
                values = [_error(row.get(name), key, factor) for row in rounds]
                if all(v is None for v in values):
                    continue
                data[f"{name} {key}"] = values
                drawn = [np.nan if v is None else v for v in values]
                panel.plot(data["round"], drawn, marker + "-", color=colour, ms=4, lw=1, label=labels.get(name, name))
            panel.set_xlabel("learning round")
            panel.set_ylabel(label)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            if key != "carrier_site_accuracy":
                panel.set_ylim(bottom=0)
        handles = {
            label: line for panel in axes for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5, fontsize=8)
        save(figure, path, data)


def moment_parity(path: Path, model: Sequence[float], reference: Sequence[float]) -> None:
    """Site moments (mu_B) of the model against those of the reference along hops, coloured by density."""
    x, y = np.asarray(reference, dtype=float), np.asarray(model, dtype=float)
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=3.2)
        low, high = min(0.0, *x, *y) - 0.03, max(*x, *y) + 0.05
        axes.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=0)
        density = _density(x, y, high - low)
        order = np.argsort(density)
        points = axes.scatter(x[order], y[order], c=density[order], s=9, cmap="cividis", norm="log", linewidths=0)
        figure.colorbar(points, label="neighbours within 2 % of the range")
        rmse = float(np.sqrt(np.mean((x - y) ** 2)))
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(xlabel="moment, reference ($\\mu_\\mathrm{B}$)", ylabel="moment, model ($\\mu_\\mathrm{B}$)")
        axes.set_title(f"RMSE {rmse:.3f} $\\mu_\\mathrm{{B}}$, {len(x)} sites", fontsize=8, loc="left")
        save(figure, path, {"reference_muB": x, "model_muB": y})


def _error(found: Mapping | None, key: str, factor: float) -> float | None:
    value = None if found is None else found.get(key)
    value = value.get("rmse") if isinstance(value, Mapping) else value
    return None if value is None else factor * value


def _density(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """Points within 2 % of the range of each point, itself included."""
    tree = cKDTree(np.stack([x, y], axis=1))
    return tree.query_ball_point(tree.data, 0.02 * span, return_length=True)
