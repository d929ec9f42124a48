"""The pictures of a training: errors over epochs, predictions against labels, and how honest the spreads are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from leopold_model.uncertainty import LEVELS, QUANTITIES, inside

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def plot_learning_curve(path: Path, history: Sequence[dict]) -> None:
    """Loss every epoch and validation errors where they were taken, on logarithmic axes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.semilogy([row["epoch"] for row in history], [row["loss"] for row in history], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    rows = [row for row in history if "validation_forces" in row]
    for name, factor, label in (
        ("forces", 1e3, "forces (meV/\u00c5)"),
        ("energy_per_atom", 1e3, "energy (meV/atom)"),
        ("moments", 1e3, "moments (10$^{-3}$ \u00b5$_B$)"),
    ):
        values = [factor * row[f"validation_{name}"] for row in rows]
        right.semilogy([row["epoch"] for row in rows], values, label=label)
    right.set(xlabel="epoch", ylabel="validation RMSE")
    if rows:
        right.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_parity(path: Path, sets: dict) -> None:
    """Predicted against labelled energy per atom, force components and moments; `sets` {name: (frames, answers)}."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for name, (frames, answers) in sets.items():
        per_atom = np.array([[f.energy / len(f), p.energy / len(f)] for f, p in zip(frames, answers, strict=True)])
        pairs = {
            "energy (meV/atom)": 1e3 * (per_atom - per_atom[:, :1].mean()),
            "forces (eV/\u00c5)": _pairs(
                (f.forces.ravel(), p.forces.ravel()) for f, p in zip(frames, answers, strict=True)
            ),
            "moments (\u00b5$_B$)": _pairs((f.spin_moments, p.moments) for f, p in zip(frames, answers, strict=True)),
        }
        for axis, (title, points) in zip(axes, pairs.items(), strict=True):
            axis.plot(points[:, 0], points[:, 1], ".", markersize=2, alpha=0.4, label=name, rasterized=True)
            axis.set(xlabel=f"label: {title}", ylabel="model")
    for axis in axes:
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="black", linewidth=0.6, zorder=0)
    axes[0].legend(frameon=False, markerscale=4)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_calibration(path: Path, sets: dict) -> None:
    """Fraction of errors inside each central interval of the spread against its level; `sets` {name: Pairs}."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharey=True)
    for axis, (quantity, unit) in zip(axes, QUANTITIES.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6)
        for name, pairs in sets.items():
            if quantity in pairs:
                axis.plot(LEVELS, inside(*pairs[quantity]), "o-", markersize=3, label=name)
        axis.set(xlabel="level of the interval", title=f"{quantity} ({unit})", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("fraction of errors inside")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _pairs(columns) -> np.ndarray:
    labels, answers = zip(*columns, strict=True)
    return np.stack([np.concatenate(labels), np.concatenate(answers)], axis=1)
