"""Patterns as nodes: labelled configurations, the model of their energies, what annealing found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leopold_model.patterns.annealing import Patterns, read_patterns
from leopold_model.patterns.labels import LabelSet, read_labels, write_labels
from leopold_model.patterns.network import PatternModel, load_pattern_model
from leopold_workflows.data.fixed_file import FixedFileData


class PatternLabelsData(FixedFileData):
    """Configurations with energies (`leopold.patterns.labels`), `labels.h5` of `leopold_model.patterns.labels`.

    Attributes to query: `lattice` (name), `n_labels`, `matrices` of the supercells, `lowest_energy` (eV, None without
    labels).
    """

    FILE = "labels.h5"

    @classmethod
    def from_labels(cls, labels: LabelSet, folder: Path) -> PatternLabelsData:
        """A node with these labels, unstored; `folder` is used while it is made."""
        write_labels(folder / cls.FILE, labels)
        return cls(folder / cls.FILE)

    def get_labels(self) -> LabelSet:
        with self.as_path() as path:
            return read_labels(path)

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        labels = read_labels(path)
        return {
            "lattice": labels.instance.lattice.name,
            "n_labels": len(labels),
            "matrices": [group.supercell.matrix.tolist() for group in labels.groups],
            "lowest_energy": float(labels.energies.min()) if len(labels) else None,
        }


class PatternModelData(FixedFileData):
    """The energy of configurations, `patterns.npz` of `leopold patterns train` (`leopold.patterns.model`).

    Attributes to query: `lattice`, `members` (networks), `fingerprint` (hash of all parameters), `errors` (meV per
    defect, of each part of the labels).
    """

    FILE = "patterns.npz"

    def get_model(self) -> PatternModel:
        with self.as_path() as path:
            return load_pattern_model(path)

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        model = load_pattern_model(path)
        parts = ("train", "validation", "test")
        return {
            "lattice": model.instance.lattice.name,
            "members": model.n_members,
            "fingerprint": model.fingerprint,
            "errors": {part: model.report[part] for part in parts if part in model.report},
        }


class PatternRunData(FixedFileData):
    """Where chains ended and the lowest each saw, `anneal.h5` of `leopold patterns anneal` (`leopold.patterns.run`).

    Attributes to query: `lattice`, `matrix`, `counts`, `explore`, `chains`, `temperature` (K, lowest of the last
    block), `lowest_energy` (eV, as the model has it), `model` (its fingerprint).
    """

    FILE = "anneal.h5"

    def get_patterns(self) -> Patterns:
        with self.as_path() as path:
            return read_patterns(path)

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        run = read_patterns(path)
        return {
            "lattice": run.instance.lattice.name,
            "matrix": run.supercell.matrix.tolist(),
            **{name: run.settings[name] for name in ("counts", "explore", "model")},
            "chains": len(run.last),
            "temperature": float(np.min(run.temperatures[-1])),
            "lowest_energy": float(run.lowest_energies.min()),
        }
