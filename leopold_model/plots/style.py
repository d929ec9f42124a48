"""What all figures share: colours, type, axes, and the three files each is written as."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def axes_of(
    rows: int, columns: int, width: float = 6.4, height: float = 3.0, **kwargs
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of rows x columns panels, width and height in inches, and its axes in one row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs).ravel()


def save(figure: Figure, path: Path, columns: Mapping[str, Any]) -> None:
    """Write the figure as PNG and PDF, and its numbers by column as CSV, under the name of `path`."""
    path = Path(path)
    lay_out(figure)
    for suffix in (".png", ".pdf"):
        # no date inside, so that equal data give equal files
        figure.savefig(path.with_suffix(suffix), metadata={"CreationDate": None} if suffix == ".pdf" else None)
    with path.with_suffix(".csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def lay_out(figure: Figure) -> None:
    """Once, not for every file and picture again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def temperature_axis(axes: Axes, temperatures: np.ndarray) -> None:
    """The same axis in kelvin along the top."""
    top = axes.secondary_xaxis("top")
    shown = np.unique(temperatures)
    top.set_xticks(1000 / shown, [f"{t:g}" for t in shown])
    top.set_xlabel("T (K)")
