"""Figures of a finished study of patterns, or of any of its parts: what counts is which outputs there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from aiida.orm import Dict, Node, ProcessNode

from leopold_model import plots
from leopold_model.figures import Figures
from leopold_model.patterns.correlation import Autocorrelation
from leopold_workflows.data.patterns import PatternRunData

NAMES = {"none": "no carriers", "random": "random carriers", "learned": "learned"}


def of_patterns(process: ProcessNode, outputs: Mapping[str, Node], folder: Path) -> Figures:
    """Maps of the lowest areas, correlation functions by treatment, the sweep, the measured overlay, energies."""
    found: Figures = {}
    outcomes = outputs.get("label_outcomes")
    if isinstance(outcomes, Dict) and (rounds := suggested(outcomes["rounds"])):
        plots.confirmed_energies(folder / "confirmed.png", rounds)
        found["Energies of suggested configurations, predicted and confirmed"] = "confirmed.png"
    found |= _maps(outputs, folder)
    correlations = outputs.get("correlations")
    if correlations is None:
        return found
    curves = {name: Autocorrelation.from_dict(data) for name, data in correlations.get_dict().items()}
    treated = {NAMES[name.removeprefix("area_")]: acf for name, acf in curves.items() if name.startswith("area_")}
    if treated:
        plots.correlation_functions(folder / "correlation.png", treated)
        found["Autocorrelation of the defects, errors over chains"] = "correlation.png"
    sweep = {name: acf for name, acf in curves.items() if name.startswith("sweep_") or name == "area_learned"}
    if len(sweep) > 1:
        plots.concentration_sweep(folder / "sweep.png", sweep)
        found["Preferred distance against concentration"] = "sweep.png"
    if "measured_correlation" in outputs and treated:
        plots.measured_overlay(folder / "measured.png", treated, outputs["measured_correlation"].get_dict())
        found["Measured positions beside annealed ones, distances in mean spacings"] = "measured.png"
    return found


def suggested(rounds: list[dict]) -> dict[int, tuple[list[float], list[float]]]:
    """By round, energies (eV) predicted and confirmed of the configurations that a model suggested and that stayed."""
    found = {}
    for record in rounds:
        rows = [
            row
            for row in record["labels"].values()
            if row["outcome"] == "verified" and row.get("predicted_eV") is not None
        ]
        if rows:
            found[record["round"]] = ([r["predicted_eV"] for r in rows], [r["energy_eV"] for r in rows])
    return found


def _maps(outputs: Mapping[str, Node], folder: Path) -> Figures:
    """The lowest configuration of every area, from above."""
    found: Figures = {}
    runs = {name.removeprefix("runs__"): node for name, node in outputs.items() if isinstance(node, PatternRunData)}
    for name, node in sorted(runs.items()):
        if name not in ("run", "area_none", "area_random", "area_learned"):
            continue
        run = node.get_patterns()
        title = NAMES.get(name.removeprefix("area_"), run.instance.lattice.name)
        plots.pattern_map(folder / f"map_{name}.png", run.supercell, run.lowest[np.argmin(run.lowest_energies)], title)
        found[f"Lowest arrangement of the area: {title}"] = f"map_{name}.png"
    return found
