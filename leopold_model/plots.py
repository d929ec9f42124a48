"""Figures of a study. Each function takes plain data and a path, and writes the figure as PNG and PDF with its
numbers beside it as CSV (same name, three suffixes). Colours are those of Okabe and Ito (2008), told apart by
colour-blind readers.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.spatial import cKDTree

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


def pathway_bars(path: Path, pathways: Sequence[Mapping]) -> None:
    """Committed hops and verified labels per class; `pathways` entries have `name`, `hops`, `verified_labels`.
    Classes without either are only counted."""
    shown = [p for p in pathways if p["hops"] or p.get("verified_labels")]
    shown = sorted(shown, key=lambda p: p["hops"])
    unseen = len(pathways) - len(shown)
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = _axes(1, 2, height=0.9 + 0.32 * max(len(shown), 2), sharey=True)
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
        _save(figure, path, {name: [p.get(name, 0) for p in pathways] for name in names})


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
        figure, axes = _axes(1, 3, width=8.4, height=2.6)
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
        _save(figure, path, data)


def moment_parity(path: Path, model: Sequence[float], reference: Sequence[float]) -> None:
    """Site moments (mu_B) of the model against those of the reference along hops, coloured by density."""
    x, y = np.asarray(reference, dtype=float), np.asarray(model, dtype=float)
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = _axes(1, 1, width=3.6, height=3.2)
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
        _save(figure, path, {"reference_muB": x, "model_muB": y})


def hop_rates(path: Path, transport: Sequence[Mapping]) -> None:
    """Rate per class with 95 % intervals at each temperature; entries as `Transport.to_dict` gives them. Arrows down
    are upper limits of classes without a hop at that temperature; classes never seen are left out."""
    names = [n for n in transport[0]["rates"] if any(row["rates"].get(n, {"count": 0})["count"] for row in transport)]
    data: dict[str, list] = {k: [] for k in ("pathway", "temperature_K", "hops", "rate_per_ps", "low", "high")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = _axes(1, 1, width=4.6, height=1.2 + 0.4 * max(len(names), 2))
        for k, row in enumerate(transport):
            shift = 0.5 * ((k + 0.5) / len(transport) - 0.5)
            axes.plot([], [], MARKERS[k % 6], color=COLOURS[k % 6], ms=4, label=f"{row['temperature_K']:g} K")
            for n, name in enumerate(names):
                rate = row["rates"].get(name)
                if rate is None:
                    continue
                value, (low, high) = rate["rate_per_ps"], rate["interval_per_ps"]
                columns = (name, row["temperature_K"], rate["count"], value, low, high)
                for column, entry in zip(data.values(), columns, strict=True):
                    column.append(entry)
                style: dict[str, Any] = {"color": COLOURS[k % 6], "ms": 4, "lw": 1}
                if rate["count"]:
                    error = [[value - low], [high - value]]
                    axes.errorbar(value, n - shift, xerr=error, fmt=MARKERS[k % 6], capsize=2, **style)
                else:
                    axes.errorbar(high, n - shift, xerr=0.4 * high, xuplims=True, fmt="|", **style)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("hop rate per carrier (1/ps), 95 % interval")
        if names:
            axes.legend(fontsize=8)
        _save(figure, path, data)


def mobility(path: Path, rows: Sequence[Mapping], arrhenius: Mapping | None = None) -> None:
    """Isotropic mobility with 95 % intervals against inverse temperature; entries have `temperature_K`, `value`,
    `low`, `high` in cm^2/(V s). `arrhenius` as `Arrhenius.to_dict` gives it, fitted to mu or mu*T, draws its line."""
    data = {key: [row[key] for row in rows] for key in ("temperature_K", "value", "low", "high")}
    t, value, low, high = (np.array(column, dtype=float) for column in data.values())
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = _axes(1, 1, width=3.6, height=3.0)
        hot = value > 0
        axes.errorbar(
            1000 / t[hot],
            value[hot],
            yerr=[(value - low).clip(0)[hot], (high - value).clip(0)[hot]],
            fmt="o",
            color=BLUE,
            capsize=3,
            ms=5,
        )
        if not hot.all():
            axes.errorbar(1000 / t[~hot], high[~hot], yerr=0.4 * high[~hot], uplims=True, fmt="_", color=BLUE)
        if arrhenius is not None:
            grid = np.linspace(0.95 * t.min(), 1.05 * t.max(), 60)
            energy, prefactor = arrhenius["energy_eV"], arrhenius["ln_prefactor"]["value"]
            line = np.exp(prefactor - energy["value"] / (8.617333262e-5 * grid))
            line = line / grid if arrhenius["quantity"].endswith("mu*T") else line
            half = 500 * (energy["high"] - energy["low"])
            label = f"$E_a$ = {1000 * energy['value']:.0f} ± {half:.0f} meV (from {arrhenius['quantity']})"
            axes.plot(1000 / grid, line, color="0.4", lw=1, label=label)
            axes.legend(fontsize=8)
        axes.set_yscale("log")
        axes.set(xlabel="1000 / T (1/K)", ylabel="mobility (cm$^2$ V$^{-1}$ s$^{-1}$)")
        _temperature_axis(axes, t)
        _save(figure, path, data)


def diffusion_plateau(path: Path, transport: Sequence[Mapping]) -> None:
    """Running diffusion coefficient D(lag) = MSD / (6 lag) at each temperature with its standard error, drawn thick at
    the lags that give the slope, and the value from the rates as a dashed line; entries as `Transport.to_dict` gives
    them."""
    data: dict[str, list] = {key: [] for key in ("temperature_K", "lag_fs", "diffusion_cm2_per_s", "error_cm2_per_s")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = _axes(1, 1, width=4.2, height=3.0)
        for k, row in enumerate(transport):
            if not isinstance(row["msd"], Mapping):
                continue
            colour, curve = COLOURS[k % 6], row["msd"]["curve"]
            lag, d, error = (np.array(curve[key]) for key in list(data)[1:])
            first, last = row["msd"]["lags_fs"]
            used = (lag >= first) & (lag <= last)
            axes.plot(lag / 1000, d, color=colour, lw=1, label=f"{row['temperature_K']:g} K")
            axes.plot(lag[used] / 1000, d[used], color=colour, lw=3, solid_capstyle="butt")
            axes.fill_between(lag / 1000, np.maximum(d - error, 0.1 * d), d + error, color=colour, alpha=0.25, lw=0)
            axes.axhline(row["diffusion_isotropic_cm2_per_s"]["value"], color=colour, lw=0.9, ls="--")
            data["temperature_K"] += [row["temperature_K"]] * len(lag)
            for key in list(data)[1:]:
                data[key] += curve[key]
        axes.set(xlabel="lag (ps)", ylabel="MSD / (6 lag) (cm$^2$ s$^{-1}$)", xscale="log", yscale="log")
        axes.set_title("thick: lags of the slope; dashed: D from hop rates", fontsize=8, loc="left")
        if data["lag_fs"]:
            axes.legend(fontsize=8)
        _save(figure, path, data)


def hop_barrier(path: Path, hop: Mapping) -> None:
    """Energies and moments along one hop, as `leopold barrier --json` gives it. Left: the surfaces of the carrier told
    on either site along the straight line, points of the lower one coloured by where the carrier is, and the
    minimum-energy path if it was found; right: the moments of the lower surface. Crosses are a reference."""
    i, j = hop["sites"]
    reference = hop["reference"]
    data: dict[str, list] = {"s": hop["s"], "energy_i_eV": hop["energy_i"], "energy_j_eV": hop["energy_j"]}
    data |= _lower_moments("", hop)
    data |= {
        "neb_s": hop["neb"]["s"],
        "neb_energy_eV": hop["neb"]["energy_lower"],
        **_lower_moments("neb_", hop["neb"]),
    }
    if reference:
        data |= {"reference_energy_eV": reference["energy_lower"], **_lower_moments("reference_", reference)}
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = _axes(1, 2, width=7.4, height=3.0)
        energies = np.array([hop["energy_i"], hop["energy_j"]])
        for values, colour, site in zip(energies, (BLUE, RED), (i, j), strict=True):
            left.plot(hop["s"], 1000 * values, color=colour, lw=1, label=f"told {site}")
        m_i, m_j = np.array(data["moment_i_muB"]), np.array(data["moment_j_muB"])
        lower = 1000 * np.array(hop["energy_lower"])
        points = left.scatter(hop["s"], lower, c=(m_j - m_i + 1) / 2, s=16, cmap="coolwarm", vmin=0, vmax=1, zorder=3)
        figure.colorbar(points, label="(moment on second $-$ on first + 1) / 2")
        if hop["neb"]["converged"]:
            left.plot(data["neb_s"], 1000 * np.array(data["neb_energy_eV"]), color="0.4", lw=1, ls="--", label="NEB")
        right.plot(hop["s"], m_i, "o-", color=BLUE, ms=3, lw=1, label=f"on {i}")
        right.plot(hop["s"], m_j, "s-", color=RED, ms=3, lw=1, label=f"on {j}")
        if reference:
            left.plot(hop["s"], 1000 * np.array(data["reference_energy_eV"]), "kx", ms=4, label=reference["name"])
            right.plot(hop["s"], data["reference_moment_i_muB"], "x", color=BLUE, ms=4)
            right.plot(hop["s"], data["reference_moment_j_muB"], "x", color=RED, ms=4, label=reference["name"])
        # a told surface may be an extrapolation where the carrier does not stay: the lower one sets the scale
        span = np.ptp(lower)
        left.set(xlabel="path", ylabel="energy (meV)", ylim=(lower.min() - 0.3 * span, lower.max() + 0.6 * span))
        right.set(xlabel="path", ylabel="moment ($\\mu_\\mathrm{B}$)")
        left.legend(fontsize=8)
        right.legend(fontsize=8)
        _save(figure, path, data)


# ---------------------------------------------------------------------------------------- shared pieces


def _axes(rows: int, columns: int, width: float = 6.4, height: float = 3.0, **kwargs) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs).ravel()


def _save(figure: Figure, path: Path, columns: Mapping[str, Any]) -> None:
    path = Path(path)
    for suffix in (".png", ".pdf"):
        # no date inside, so that equal data give equal files
        figure.savefig(path.with_suffix(suffix), metadata={"CreationDate": None} if suffix == ".pdf" else None)
    with path.with_suffix(".csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _lower_moments(prefix: str, path: Mapping) -> dict[str, list]:
    """Moments of the lower surface on both sites, as columns."""
    moments = [told[int(j)] for told, j in zip(path["moments"], path["on_j"], strict=True)]
    return {f"{prefix}moment_{name}_muB": [m[k] for m in moments] for k, name in enumerate("ij")}


def _error(found: Mapping | None, key: str, factor: float) -> float | None:
    value = None if found is None else found.get(key)
    value = value.get("rmse") if isinstance(value, Mapping) else value
    return None if value is None else factor * value


def _density(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """Points within 2 % of the range of each point, itself included."""
    tree = cKDTree(np.stack([x, y], axis=1))
    return tree.query_ball_point(tree.data, 0.02 * span, return_length=True)


def _temperature_axis(axes: Axes, temperatures: np.ndarray) -> None:
    """The same axis in kelvin along the top."""
    top = axes.secondary_xaxis("top")
    shown = np.unique(temperatures)
    top.set_xticks(1000 / shown, [f"{t:g}" for t in shown])
    top.set_xlabel("T (K)")
