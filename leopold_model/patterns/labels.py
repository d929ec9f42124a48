"""Labelled configurations: energies of configurations in one or more supercells of a lattice, and their file.

Energies are in eV, all against the same reference: that of the perfect host in the same supercell, scaled with its
size, or simply total energies where all labels have one supercell and composition. The file is HDF5: the lattice's YAML
as an attribute, and for every supercell a group with `matrix`, `occupations` (n, n_sites) and `energies` (n,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from leopold_model.foreign import open_hdf5
from leopold_model.frames import Frame
from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice_file import Instance, lattice_from_text
from leopold_model.patterns.structures import from_structure
from leopold_model.patterns.supercell import Supercell

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Labels:
    """Configurations (n, n_sites) of one supercell and their energies (n,) in eV."""

    supercell: Supercell
    occupations: np.ndarray
    energies: np.ndarray

    def __post_init__(self):
        occupations = np.asarray(self.occupations, dtype=np.int8).reshape(-1, self.supercell.n_sites)
        energies = np.asarray(self.energies, dtype=float)
        if energies.shape != (len(occupations),):
            raise PatternError(f"energies have shape {energies.shape} for {len(occupations)} configurations")
        if not np.isfinite(energies).all():
            raise PatternError(f"energies[{int(np.argmin(np.isfinite(energies)))}] is not finite: leave that label out")
        for row in occupations:
            self.supercell.check(row)
        object.__setattr__(self, "occupations", occupations)
        object.__setattr__(self, "energies", energies)

    def __len__(self) -> int:
        return len(self.energies)

    def take(self, index: np.ndarray) -> Labels:
        """Some of them, by index or mask."""
        return Labels(self.supercell, self.occupations[index], self.energies[index])

    @cached_property
    def keys(self) -> list[str]:
        """Canonical key of each."""
        return [self.supercell.key(row) for row in self.occupations]

    @cached_property
    def defect_keys(self) -> list[str]:
        """Canonical key of each without its carriers: the pattern of vacancies and dopants."""
        rows, inverse = np.unique(self.supercell.without_carriers(self.occupations), axis=0, return_inverse=True)
        keys = [self.supercell.key(row) for row in rows]
        return [keys[i] for i in inverse.ravel()]

    @property
    def n_defects(self) -> np.ndarray:
        """(n,) occupied sites of each."""
        return (self.occupations > 0).sum(axis=1)


@dataclass(frozen=True)
class LabelSet:
    """Labels of one lattice in any number of supercells; `len` counts all labels, in the order of `groups`."""

    instance: Instance
    groups: tuple[Labels, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @property
    def energies(self) -> np.ndarray:
        """(n,) eV."""
        return np.concatenate([group.energies for group in self.groups])

    @property
    def keys(self) -> list[str]:
        """Canonical key of each label."""
        return [key for group in self.groups for key in group.keys]

    @property
    def defect_keys(self) -> list[str]:
        """Canonical key of each label without its carriers."""
        return [key for group in self.groups for key in group.defect_keys]

    @property
    def n_defects(self) -> np.ndarray:
        """(n,) defects of each label."""
        return np.concatenate([group.n_defects for group in self.groups])

    def counts(self) -> np.ndarray:
        """(n, s) number of each species in each label."""
        numbers = np.arange(1, len(self.instance.lattice.species) + 1)
        return np.concatenate([(g.occupations[..., None] == numbers).sum(axis=1) for g in self.groups])

    def take(self, mask: np.ndarray) -> LabelSet:
        """Those where `mask` (n,) is true."""
        parts = np.split(np.asarray(mask, dtype=bool), np.cumsum([len(g) for g in self.groups])[:-1])
        return LabelSet(self.instance, tuple(g.take(p) for g, p in zip(self.groups, parts, strict=True) if p.any()))

    def deduplicated(self) -> LabelSet:
        """Of equivalent configurations, the one of lowest energy (what relaxed better)."""
        best: dict[str, int] = {}
        energies = self.energies
        for i, key in enumerate(self.keys):
            if key not in best or energies[i] < energies[best[key]]:
                best[key] = i
        return self.take(np.isin(np.arange(len(self)), list(best.values())))


def labels_from_frames(supercell: Supercell, frames: Sequence[Frame]) -> tuple[Labels, dict[int, str]]:
    """Labels of relaxed structures of one supercell, by the carriers they ended with, and why others gave none (index
    of the frame -> reason): not converged, without energy, or not a configuration of this lattice."""
    occupations, energies, refused = [], [], {}
    for k, frame in enumerate(frames):
        if not frame.converged or np.isnan(frame.energy):
            refused[k] = "not converged" if not frame.converged else "no energy"
            continue
        try:
            occupations.append(from_structure(supercell, frame.to_atoms(), frame.carrier_sites)[0])
            energies.append(frame.energy)
        except PatternError as error:
            refused[k] = str(error)
    return Labels(supercell, np.array(occupations, dtype=np.int8), np.array(energies)), refused


def write_labels(path: str | Path, labels: LabelSet) -> None:
    """Write a label file."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format="leopold-pattern-labels", version=FORMAT_VERSION, lattice=labels.instance.text)
        for k, group in enumerate(labels.groups):
            node = file.create_group(f"supercell_{k}")
            node["matrix"], node["energies"] = group.supercell.matrix, group.energies
            node.create_dataset("occupations", data=group.occupations, compression="gzip")


def read_labels(path: str | Path) -> LabelSet:
    """Read a label file."""
    with open_hdf5(path, PatternError, "give labels of `leopold patterns`") as file:
        if file.attrs.get("format") != "leopold-pattern-labels" or file.attrs["version"] > FORMAT_VERSION:
            raise PatternError(f"{path} is no file of pattern labels of version {FORMAT_VERSION} or older")
        instance = lattice_from_text(str(file.attrs["lattice"]), str(path))
        groups = tuple(
            Labels(Supercell(instance.lattice, node["matrix"][:]), node["occupations"][:], node["energies"][:])
            for node in file.values()
        )
    if not groups:
        raise PatternError(f"{path} holds no labels")
    return LabelSet(instance, groups)
