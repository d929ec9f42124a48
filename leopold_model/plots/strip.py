"""A hop as a strip of pictures and as an animation: the atoms of one plane, filled by their moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.geometry import find_mic
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from leopold_model.plots.style import BLUE, COLOURS, ORANGE, STYLE, axes_of, lay_out, save

THICK = 1.3  # Angstrom on either side of the plane through the hop: its atoms, and those of no other
SIZE = 0.55  # of a circle, in covalent radii
MARGIN = 3.2  # Angstrom shown around the two sites
EDGES = (BLUE, ORANGE, *COLOURS[2:])


@dataclass(frozen=True)
class HopPictures:
    """One hop of a carrier from atom `i` to `j`: `times` (s,) from the crossing in `unit`, `numbers` (n,), `cell`
    (3, 3), `positions` (s, n, 3) Angstrom, `moments` (s, n) mu_B; `name` of its class."""

    times: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    moments: np.ndarray
    i: int
    j: int
    name: str = ""
    unit: str = "fs"

    def thinned(self, n: int) -> HopPictures:
        """At most `n` pictures, evenly spread, ends included."""
        kept = np.unique(np.linspace(0, len(self.times) - 1, min(n, len(self.times))).round().astype(int))
        fields = {name: getattr(self, name)[kept] for name in ("times", "positions", "moments")}
        return HopPictures(**{**self.__dict__, **fields})


def hop_strip(path: Path, hop: HopPictures, n: int = 5) -> None:
    """`n` pictures of the hop from before to after it, in the plane that holds both sites."""
    shown = hop.thinned(n)
    view = _View(shown)
    data: dict[str, list] = {
        k: [] for k in (f"time_{hop.unit}", "atom", "element", "x_Angstrom", "y_Angstrom", "moment_muB")
    }
    with matplotlib.rc_context(STYLE):
        tall = 1.7 * view.reach[1] / view.reach[0]
        figure, panels = axes_of(1, len(shown.times), width=0.8 + 1.7 * len(shown.times), height=0.85 + tall)
        for k, axes in enumerate(panels):
            view.draw(axes, k)
            for atom, (x, y) in view.at(k):
                row = (shown.times[k], atom, chemical_symbols[hop.numbers[atom]], x, y, shown.moments[k, atom])
                for column, value in zip(data.values(), row, strict=True):
                    column.append(value)
        figure.colorbar(view.scale, ax=list(panels), label="moment ($\\mu_\\mathrm{B}$)", pad=0.01, aspect=14)
        figure.legend(handles=view.legend, loc="outside lower center", ncols=4, fontsize=8)
        figure.suptitle(hop.name, fontsize=8)
        save(figure, path, data)


def hop_animation(path: Path, hop: HopPictures, *, per_second: float = 8.0) -> None:
    """The whole hop as a GIF."""
    view = _View(hop)
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=3.2)
        figure.colorbar(view.scale, ax=axes, label="moment ($\\mu_\\mathrm{B}$)")
        figure.legend(handles=view.legend, loc="outside lower center", ncols=4, fontsize=8)

        def picture(k: int) -> list:
            axes.clear()
            view.draw(axes, k)
            return []

        picture(0)
        lay_out(figure)
        film = FuncAnimation(figure, picture, frames=len(hop.times))
        film.save(Path(path).with_suffix(".gif"), writer=PillowWriter(fps=int(per_second)), dpi=110)


class _View:
    """Atoms seen along the normal of a plane that holds both sites, the hop from left to right."""

    def __init__(self, hop: HopPictures):
        self.hop = hop
        start = hop.positions[0]
        step = find_mic(start[hop.j] - start[hop.i], hop.cell)[0]
        along = step / np.linalg.norm(step)
        # of the Cartesian axes the one most nearly across the hop is looked along
        normal = np.eye(3)[2 - int(np.argmin(np.abs(along[::-1]).round(3)))]
        normal = normal - (normal @ along) * along
        normal /= np.linalg.norm(normal)
        self.axes = np.array([along, np.cross(normal, along), normal])
        self.centre = start[hop.i] + step / 2
        self.reach = np.array([np.linalg.norm(step) / 2 + MARGIN, MARGIN])
        first = self._seen(0)
        self.atoms = np.flatnonzero((np.abs(first[:, :2]) < self.reach).all(axis=1) & (np.abs(first[:, 2]) < THICK))
        self.largest = float(np.max(hop.moments[:, self.atoms]))
        self.scale = ScalarMappable(Normalize(0.0, self.largest), "Greys")
        elements = sorted(set(hop.numbers[self.atoms]), key=lambda z: (z != hop.numbers[hop.i], z))
        self.edges = {z: EDGES[k % len(EDGES)] for k, z in enumerate(elements)}
        style: dict[str, Any] = {"marker": "o", "ls": "", "mfc": "w", "mew": 1.6, "ms": 8}
        self.legend = [Line2D([], [], mec=self.edges[z], label=chemical_symbols[z], **style) for z in elements]

    def _seen(self, k: int) -> np.ndarray:
        """(n, 3) along the hop, across it in the plane, out of the plane; nearest images of the middle."""
        return find_mic(self.hop.positions[k] - self.centre, self.hop.cell)[0] @ self.axes.T

    def at(self, k: int) -> list[tuple[int, tuple[float, float]]]:
        """The atoms shown and where, in picture k."""
        seen = self._seen(k)
        return [(int(atom), (float(seen[atom, 0]), float(seen[atom, 1]))) for atom in self.atoms]

    def draw(self, axes: Axes, k: int) -> None:
        hop = self.hop
        for atom, (x, y) in self.at(k):
            z = hop.numbers[atom]
            face: Any = self.scale.to_rgba(hop.moments[k, atom])
            circle = matplotlib.patches.Circle((x, y), SIZE * covalent_radii[z], fc=face, ec=self.edges[z], lw=1.6)
            axes.add_patch(circle)
        for name, site in (("i", hop.i), ("j", hop.j)):
            x, y = self._seen(k)[site, :2]
            below = y - SIZE * covalent_radii[hop.numbers[site]] - 0.15
            axes.text(x, below, f"${name}$", ha="center", va="top", fontsize=10)
        axes.set(xlim=(-self.reach[0], self.reach[0]), ylim=(-self.reach[1], self.reach[1]), aspect="equal")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(f"{round(hop.times[k]):+d} {hop.unit}", fontsize=8)


def pictures(frames: Sequence, i: int, j: int, times: Sequence[float], name: str = "", unit: str = "fs") -> HopPictures:
    """Those of `frames` (see `leopold_model.frames.Frame`) of one hop, in time order."""
    return HopPictures(
        np.asarray(times, dtype=float), frames[0].numbers, frames[0].cell,
        np.array([f.positions for f in frames]), np.array([f.spin_moments for f in frames]), i, j, name, unit,
    )  # fmt: skip
