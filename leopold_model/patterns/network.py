"""The learned energy of a configuration: a small network for every type of defect, summed over the defects.

Features -> 32 -> 10 -> 1 with leaky rectifiers (slope 0.01) and a linear output, in eV, averaged over the symmetry
images of the features. This module evaluates in numpy, float64, everything at once; `tables` is the same function for
moves, and `training` fits it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from leopold_model.foreign import read_npz
from leopold_model.patterns import PatternError
from leopold_model.patterns.descriptor import Descriptor, DescriptorConfig
from leopold_model.patterns.lattice_file import Instance, lattice_from_text
from leopold_model.patterns.supercell import Supercell

HIDDEN = (32, 10)
SLOPE = 0.01  # of the leaky rectifier
FORMAT_VERSION = 1

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights (members, in, out) and biases (members, out) of each layer of one type."""


@dataclass(frozen=True)
class PatternModel:
    """An ensemble of networks on a lattice: `layers[t]` for each type of `descriptor`. `report` says how it was
    trained, the seed included."""

    instance: Instance
    descriptor: Descriptor
    layers: list[Layers]
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def n_members(self) -> int:
        """Networks in the ensemble."""
        return len(self.layers[0][0][0])

    def energies(self, supercell: Supercell, occupations: np.ndarray) -> np.ndarray:
        """(members, n) energies in eV of configurations (n, n_sites)."""
        occupations = np.atleast_2d(occupations)
        total = np.zeros((self.n_members, len(occupations)))
        features = self.descriptor.features(supercell, occupations)
        for (which, values), layers in zip(features, self.layers, strict=True):
            site = site_energies(layers, values)
            for member in range(self.n_members):
                total[member] += np.bincount(which, site[member], minlength=len(occupations))
        return total

    def predict(self, supercell: Supercell, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and standard deviation (n,) over the ensemble, eV."""
        energies = self.energies(supercell, occupations)
        return energies.mean(axis=0), energies.std(axis=0)

    @property
    def fingerprint(self) -> str:
        """Hash of the lattice, the descriptor and all parameters."""
        digest = hashlib.sha256((self.instance.text + self.descriptor.config.model_dump_json()).encode())
        for of_type in self.layers:
            for pair in of_type:
                for array in pair:
                    digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()[:20]

    def first(self, n: int) -> PatternModel:
        """The first n networks of the ensemble, as a model; the cost of a move is proportional to their number."""
        if not 1 <= n <= self.n_members:
            raise PatternError(f"members = {n}: this model has {self.n_members}")
        layers = [[(w[:n], b[:n]) for w, b in of_type] for of_type in self.layers]
        return PatternModel(self.instance, self.descriptor, layers, self.report)

    def save(self, path: str | Path) -> None:
        """One .npz file: a JSON header and the arrays; nothing in it is executed on reading."""
        header = {
            "format": "leopold-patterns",
            "version": FORMAT_VERSION,
            "lattice": self.instance.text,
            "descriptor": self.descriptor.config.model_dump(),
            "report": self.report,
        }
        arrays: dict[str, Any] = {
            f"{t}.{k}.{name}": a
            for t, of in enumerate(self.layers)
            for k, p in enumerate(of)
            for name, a in zip("wb", p, strict=True)
        }
        with Path(path).open("wb") as handle:
            np.savez(handle, header=np.array(json.dumps(header)), **arrays)


def load_pattern_model(path: str | Path) -> PatternModel:
    """Inverse of `PatternModel.save`."""
    remedy = "give a model of `leopold patterns train`"
    arrays = read_npz(path, PatternError, remedy)
    try:
        return _model(json.loads(str(arrays.pop("header"))), arrays, path)
    except PatternError:
        raise
    except Exception as error:  # json, pydantic and numpy raise their own
        raise PatternError(f"{path} is not a model of patterns, or damaged ({error}): {remedy}") from error


def _model(header: dict, arrays: dict[str, np.ndarray], path: str | Path) -> PatternModel:
    if header["format"] != "leopold-patterns" or header["version"] > FORMAT_VERSION:
        raise PatternError(f"{path}: format {header['format']!r} version {header['version']}: update leopold")
    instance = lattice_from_text(header["lattice"], str(path))
    descriptor = Descriptor(instance.lattice, DescriptorConfig(**header["descriptor"]))
    depth = len(HIDDEN) + 1
    layers = [
        [(arrays[f"{t}.{k}.w"], arrays[f"{t}.{k}.b"]) for k in range(depth)] for t in range(len(descriptor.types))
    ]
    members = len(layers[0][0][0])
    for (b, _), of_type in zip(descriptor.types, layers, strict=True):
        sizes = descriptor.surroundings[b].n_features, *HIDDEN, 1
        for (n_in, n_out), (weights, biases) in zip(pairwise(sizes), of_type, strict=True):
            shapes, kinds = (weights.shape, biases.shape), weights.dtype.kind + biases.dtype.kind
            if shapes != ((members, n_in, n_out), (members, n_out)) or kinds != "ff":
                raise PatternError(f"{path}: arrays of shapes {shapes} do not fit its lattice: damaged, copy it again")
    return PatternModel(instance, descriptor, layers, dict(header["report"]))


def site_energies(layers: Layers, features: np.ndarray) -> np.ndarray:
    """(members, r) eV of defects with features (r, g, f): the mean over the images of the networks' outputs."""
    h = np.broadcast_to(features, (len(layers[0][0]), *features.shape))
    for k, (w, b) in enumerate(layers):
        h = np.einsum("mrgi,mio->mrgo", h, w, optimize=True) + b[:, None, None]
        if k < len(layers) - 1:
            h = np.where(h > 0, h, SLOPE * h)
    return h[..., 0].mean(axis=2)
