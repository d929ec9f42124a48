"""Figures of transport: rates, diffusion and mobility with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from leopold_model.analysis.transport import BOLTZMANN, CM2_PER_S, along
from leopold_model.plots.style import BLUE, COLOURS, MARKERS, STYLE, axes_of, save, temperature_axis

LINES = ("-", "--", "-.", ":")


def hop_rates(path: Path, transport: Sequence[Mapping]) -> None:
    """Rate per class with 95 % intervals at each temperature; entries as `Transport.to_dict` gives them. Arrows down
    are upper limits of classes without a hop at that temperature; classes never seen are left out."""
    names = [n for n in transport[0]["rates"] if any(row["rates"].get(n, {"count": 0})["count"] for row in transport)]
    data: dict[str, list] = {k: [] for k in ("pathway", "temperature_K", "hops", "rate_per_ps", "low", "high")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=4.6, height=1.2 + 0.4 * max(len(names), 2))
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
        save(figure, path, data)


def mobility(path: Path, rows: Sequence[Mapping], arrhenius: Mapping | None = None) -> None:
    """Isotropic mobility with 95 % intervals against inverse temperature; entries have `temperature_K`, `value`,
    `low`, `high` in cm^2/(V s). `arrhenius` as `Arrhenius.to_dict` gives it, fitted to mu, mu*T or D (A^2/fs), draws
    its line."""
    data = {key: [row[key] for row in rows] for key in ("temperature_K", "value", "low", "high")}
    t, value, low, high = (np.array(column, dtype=float) for column in data.values())
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=3.0)
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
            line = np.exp(prefactor - energy["value"] / (BOLTZMANN * grid))
            line *= {"ln mu*T": 1 / grid, "ln D": CM2_PER_S / (BOLTZMANN * grid)}.get(arrhenius["quantity"], 1.0)
            half = 500 * (energy["high"] - energy["low"])
            label = f"$E_a$ = {1000 * energy['value']:.0f} ± {half:.0f} meV (from {arrhenius['quantity']})"
            axes.plot(1000 / grid, line, color="0.4", lw=1, label=label)
            axes.legend(fontsize=8)
        axes.set_yscale("log")
        axes.set(xlabel="1000 / T (1/K)", ylabel="mobility (cm$^2$ V$^{-1}$ s$^{-1}$)")
        temperature_axis(axes, t)
        save(figure, path, data)


def diffusion_plateau(path: Path, transport: Sequence[Mapping]) -> None:
    """Running diffusion coefficient D(lag) = MSD / (6 lag) at each temperature with its standard error, drawn thick at
    the lags that give the slope, and the value from the rates as a dashed line; entries as `Transport.to_dict` gives
    them."""
    data: dict[str, list] = {key: [] for key in ("temperature_K", "lag_fs", "diffusion_cm2_per_s", "error_cm2_per_s")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=4.2, height=3.0)
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
        save(figure, path, data)


def direction_shares(path: Path, rows: Sequence[Mapping]) -> None:
    """Share of the hops that each class has, with 95 % intervals (Wilson), at each temperature; entries have
    `temperature_K` and `counts` {class: hops}. Classes never seen are left out."""
    names = [n for n in rows[0]["counts"] if any(row["counts"].get(n) for row in rows)]
    data: dict[str, list] = {k: [] for k in ("pathway", "temperature_K", "hops", "share", "low", "high")}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=4.8, height=1.1 + 0.34 * max(len(names), 2) * max(len(rows), 1) ** 0.5)
        height = 0.8 / len(rows)
        for k, row in enumerate(rows):
            total = sum(row["counts"].values())
            if not total:
                continue
            for n, name in enumerate(names):
                count = row["counts"].get(name, 0)
                interval = binomtest(count, total).proportion_ci(method="wilson")
                share, low, high = (100 * x for x in (count / total, interval.low, interval.high))
                y, colour = n + (k - (len(rows) - 1) / 2) * height, COLOURS[k % 6]
                axes.barh(y, share, height=0.9 * height, color=colour, alpha=0.85)
                axes.plot([low, high], [y, y], color="k", lw=0.9)
                columns = (name, row["temperature_K"], count, share / 100, low / 100, high / 100)
                for column, entry in zip(data.values(), columns, strict=True):
                    column.append(entry)
            axes.barh(np.nan, 0, color=COLOURS[k % 6], alpha=0.85, label=f"{row['temperature_K']:g} K, {total} hops")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel="share of hops (%), 95 % interval", xlim=(0, 100))
        if data["hops"]:
            axes.legend(fontsize=8)
        save(figure, path, data)


def hops_by_stay(path: Path, rows: Sequence[Mapping], tau_min: float) -> None:
    """Hops a stay of at least tau_min would give at each temperature, the tau_min (fs) in use marked; entries have
    `temperature_K` and `by_tau_min_fs` as `Catalogue.count_table` gives it."""
    data: dict[str, list] = {"temperature_K": [], "tau_min_fs": [], "hops": []}
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = axes_of(1, 1, width=3.6, height=2.6)
        for k, row in enumerate(rows):
            stays, hops = [float(tau) for tau in row["by_tau_min_fs"]], list(row["by_tau_min_fs"].values())
            label = f"{row['temperature_K']:g} K"
            axes.plot(stays, hops, MARKERS[k % 6] + "-", color=COLOURS[k % 6], ms=4, lw=1, label=label)
            data["temperature_K"] += [row["temperature_K"]] * len(stays)
            data["tau_min_fs"] += stays
            data["hops"] += hops
        axes.axvline(tau_min, color="0.6", lw=0.8, ls="--", zorder=0)
        axes.set(xlabel="shortest stay that makes a hop (fs)", ylabel="committed hops", xscale="log")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
        save(figure, path, data)


def polar_mobility(path: Path, transport: Sequence[Mapping]) -> None:
    """Mobility along every direction of the three Cartesian planes, n mu n, at each temperature; entries as
    `Transport.to_dict` gives them."""
    angle = np.linspace(0.0, 2 * np.pi, 181)
    planes = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}
    data: dict[str, list] = {k: [] for k in ("temperature_K", "angle_degrees", *planes)}
    panels: Any
    with matplotlib.rc_context(STYLE):
        figure, panels = axes_of(1, 3, width=7.6, height=3.1, subplot_kw={"projection": "polar"})
        for k, row in enumerate(transport):
            tensor = np.array(row["mobility_cm2_per_Vs"]["value"])
            data["temperature_K"] += [row["temperature_K"]] * len(angle)
            data["angle_degrees"] += np.degrees(angle).round(6).tolist()
            for axes, (name, (a, b)) in zip(panels, planes.items(), strict=True):
                directions = np.cos(angle)[:, None] * np.eye(3)[a] + np.sin(angle)[:, None] * np.eye(3)[b]
                value = along(tensor, directions)
                data[name] += value.tolist()
                axes.plot(
                    angle, value, color=COLOURS[k % 6], lw=1.2, ls=LINES[k % 4], label=f"{row['temperature_K']:g} K"
                )
        top = max((max(data[name], default=0.0) for name in planes), default=0.0) or 1.0
        ticks = [t for t in MaxNLocator(3).tick_values(0, top) if 0 < t <= 1.1 * top]
        for axes, name in zip(panels, planes, strict=True):
            axes.set(ylim=(0, 1.1 * top), xticks=np.radians([0, 45, 90, 135, 180, 225, 270, 315]), yticks=ticks)
            axes.set_xticklabels([name[0], "", name[1], "", "", "", "", ""])
            axes.set_yticklabels([f"{t:.2g}" for t in ticks], fontsize=7)
            axes.set_rlabel_position(65)
            axes.grid(lw=0.4, color="0.8")
        figure.suptitle("mobility (cm$^2$ V$^{-1}$ s$^{-1}$) along a direction", fontsize=9)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
        save(figure, path, data)
