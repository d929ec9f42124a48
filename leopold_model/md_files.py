"""Files of a dynamics run: the H5MD trajectory, appended to as the run goes, and the checkpoint.

H5MD 1.1 (de Buyl et al. 2014) with one particle group per replica, units written as attributes the way MDAnalysis reads
them (`MDAnalysis.Universe(topology, 'trajectory.h5', group='replica_000')`). Positions are unwrapped.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from leopold_model import __version__
from leopold_model.foreign import open_hdf5
from leopold_model.tracks import LINK

CHECKPOINT_FORMAT, CHECKPOINT_VERSION = "leopold-md-checkpoint", 1


class CheckpointError(ValueError):
    """A checkpoint that does not belong to this run; the message says what to do."""


def group_name(index: int) -> str:
    """Of the particles of one replica."""
    return f"replica_{index:03d}"


def create_trajectory(path: Path, numbers: np.ndarray, cells: list[np.ndarray], pbc: np.ndarray, track: str) -> None:
    """An empty trajectory with one particle group per cell; links to the track file beside it."""
    boundary = np.array(["periodic" if p else "none" for p in pbc], dtype="S8")
    with h5py.File(path, "w") as h5:
        root = h5.create_group("h5md")
        root.attrs["version"] = np.array([1, 1], dtype=np.int32)
        root.create_group("author").attrs["name"] = "unknown"
        root.create_group("creator").attrs.update(name="aiida-leopold", version=__version__)
        h5[LINK] = h5py.ExternalLink(track, "/")
        for index in range(len(cells)):
            group = h5.create_group(f"particles/{group_name(index)}")
            group.create_dataset("species", data=numbers.astype(np.int32), track_times=False)
            box = group.create_group("box")
            box.attrs["dimension"], box.attrs["boundary"] = 3, boundary
            for parent, name, shape, unit in (
                (group, "position", (len(numbers), 3), "Angstrom"),
                (box, "edges", (3, 3), "Angstrom"),
            ):
                element = parent.create_group(name)
                _growing(element, "value", shape, np.float32 if name == "position" else np.float64, unit)
            # H5MD lets elements sampled together share step and time
            position = group["position"]
            _growing(position, "step", (), np.int64, None)
            _growing(position, "time", (), np.float64, "fs")
            box["edges/step"], box["edges/time"] = position["step"], position["time"]


def append_trajectory(path: Path, frames: dict[int, tuple[np.ndarray, np.ndarray]], cells, timestep: float) -> None:
    """Add frames: replica index -> (rows (F,), positions (F, n, 3))."""
    with h5py.File(path, "r+") as h5:
        for index, (rows, positions) in frames.items():
            group = h5[f"particles/{group_name(index)}"]
            edges = np.broadcast_to(cells[index], (len(rows), 3, 3))
            for name, values in (
                ("position/value", positions),
                ("position/step", rows),
                ("position/time", rows * timestep),
                ("box/edges/value", edges),
            ):
                data = group[name]
                old = len(data)
                data.resize(old + len(rows), axis=0)
                data[old:] = values


def truncate_trajectory(path: Path, counts: list[int]) -> None:
    """Forget frames written after the checkpoint that holds `counts`."""
    with h5py.File(path, "r+") as h5:
        for index, count in enumerate(counts):
            group = h5[f"particles/{group_name(index)}"]
            for name in ("position/value", "position/step", "position/time", "box/edges/value"):
                if len(group[name]) < count:
                    raise CheckpointError(
                        f"{path} holds {len(group[name])} frames of replica {index}, the checkpoint {count}: "
                        "they are not of the same run. Delete the checkpoint to start again"
                    )
                group[name].resize(count, axis=0)


def save_checkpoint(path: Path, fingerprint: str, arrays: dict[str, np.ndarray]) -> None:
    """Replace the checkpoint in one step, so that a killed job leaves the previous one."""
    partial = path.with_name(path.name + ".partial")
    with h5py.File(partial, "w") as h5:
        h5.attrs.update(format=CHECKPOINT_FORMAT, version=CHECKPOINT_VERSION, fingerprint=fingerprint)
        for name, value in arrays.items():
            h5.create_dataset(name, data=value, track_times=False)
    os.replace(partial, path)


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint by name; CheckpointError when it is of another run."""
    with open_hdf5(path, CheckpointError, "delete it to start again") as h5:
        found = tuple(h5.attrs.get(k) for k in ("format", "version", "fingerprint"))
        if found != (CHECKPOINT_FORMAT, CHECKPOINT_VERSION, fingerprint):
            raise CheckpointError(
                f"{path} was written by a run with another model, start file or configuration: delete it to start "
                "again, or restore the inputs it belongs to (only max_wall_seconds and more_steps may change)"
            )
        arrays: dict[str, np.ndarray] = {}
        h5.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def _growing(group, name: str, shape: tuple, dtype, unit: str | None):
    rows = max(1, 65536 // max(1, int(np.prod(shape)) * 8)) if shape else 1024
    packing = {"compression": "gzip", "shuffle": True} if shape else {}
    data = group.create_dataset(
        name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape), track_times=False, **packing
    )
    if unit:
        data.attrs["unit"] = unit
    return data
