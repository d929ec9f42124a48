"""Energies and moments along one hop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from leopold_model.plots.style import BLUE, RED, STYLE, axes_of, save

SIDES = ((BLUE, "o", "i"), (RED, "s", "j"))


def hop_barrier(path: Path, hop: Mapping) -> None:
    """Energies and moments along one hop, as `leopold barrier --json` or the node of leopold.barrier gives it.

    Left: the surfaces of the carrier told on either site along the straight line, points of the lower one coloured by
    where the carrier is, and the minimum-energy path if it was found; right: the moments of the lower surface. Crosses
    are a reference, alone if the model has no answer.
    """
    reference, neb = hop["reference"], hop.get("neb")
    own, beside = (hop, reference) if "energy_i" in hop else (reference, None)
    data: dict[str, list] = {"s": own["s"], **_columns("", own)}
    if neb:
        data |= {"neb_s": neb["s"], **_columns("neb_", neb)}
    if beside:
        data |= _columns("reference_", beside)
    column = {name: np.array(values, dtype=float) for name, values in data.items()}
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = axes_of(1, 2, width=7.4, height=3.2)
        for (colour, marker, name), site in zip(SIDES, hop["sites"], strict=True):
            left.plot(data["s"], 1000 * column[f"energy_{name}_eV"], color=colour, lw=1, label=f"told {site}")
            moments = column[f"moment_{name}_muB"]
            right.plot(data["s"], moments, marker + "-", color=colour, ms=3.5, lw=1, label=f"on {site}")
        lower = 1000 * column["energy_lower_eV"]
        shift = (column["moment_j_muB"] - column["moment_i_muB"] + 1) / 2
        style: Any = {"cmap": "coolwarm", "vmin": 0, "vmax": 1, "edgecolors": "k", "linewidths": 0.5}
        points = left.scatter(data["s"], lower, c=shift, s=24, zorder=3, **style)
        figure.colorbar(points, label="$(m_j - m_i + 1)\\,/\\,2$")
        if neb and neb["converged"]:
            left.plot(data["neb_s"], 1000 * column["neb_energy_lower_eV"], color="0.4", lw=1, ls="--", label="NEB")
        if beside:
            for k, name in enumerate("ij"):
                told = 1000 * column[f"reference_energy_{name}_eV"]
                left.plot(data["s"], told, "kx", ms=5, mew=0.9, zorder=4, label=None if k else beside["name"])
                moments = column[f"reference_moment_{name}_muB"]
                right.plot(data["s"], moments, "kx", ms=5, mew=0.9, zorder=4, label=None if k else beside["name"])
        # a told surface may be an extrapolation where the carrier does not stay: the lower one sets the scale
        span = np.nanmax(lower) - np.nanmin(lower)
        left.set(ylabel="energy (meV)", ylim=(np.nanmin(lower) - 0.08 * span, np.nanmax(lower) + 0.25 * span))
        right.set(ylabel="moment ($\\mu_\\mathrm{B}$)", ylim=(None, 1.08 * np.nanmax(column["moment_i_muB"])))
        for axes in (left, right):
            axes.set_xlabel("fraction of the path, $s$")
            axes.legend(
                fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 0.98), columnspacing=1.0, handlelength=1.4
            )
        figure.suptitle(_title(hop, own, beside), fontsize=8)
        save(figure, path, data)


def _title(hop: Mapping, own: Mapping, beside: Mapping | None) -> str:
    parts = [hop["pathway"] or f"{hop['distance_Angstrom']:.2f} Å", own["verdict"] or "no verdict"]
    if beside:
        parts.append(f"{beside['name']}: {beside['verdict'] or 'no verdict'}")
    if "deviation" in hop:
        parts.append(f"largest deviation {hop['deviation']['energy_meV']['largest']:.1f} meV")
    return ",  ".join(parts)


def _columns(prefix: str, line: Mapping) -> dict[str, list]:
    """Energies of a line and the moments of its lower surface on both sites; None where there is no answer."""
    moments = [
        [None, None] if on_j is None else told[int(on_j)]
        for told, on_j in zip(line["moments"], line["on_j"], strict=True)
    ]
    found = {f"{prefix}{key}_eV": list(line[key]) for key in ("energy_i", "energy_j", "energy_lower")}
    return found | {f"{prefix}moment_{name}_muB": [m[k] for m in moments] for k, name in enumerate("ij")}
