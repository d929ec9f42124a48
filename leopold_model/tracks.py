"""The track file of a dynamics run (`track.h5`): which sites hold the carrier at every step, and hop windows.

One HDF5 file holds every replica of a run. Root attributes: `format`, `version`, `units`, `carrier`,
`n_carriers`; root dataset `numbers` (n,). Each group `/replica_000`, `/replica_001`, ... has the attributes
`temperature` (target, K), `replica`, `timestep` (fs between rows), `seed`, `status`, `stride`, and the datasets
named in `ReplicaTrack`. Units are fs, K, eV, Angstrom, mu_B. A trajectory file (H5MD) that links to its track
under `leopold_track` is read as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from leopold_model.foreign import open_hdf5

FORMAT = "leopold-track"
FORMAT_VERSION = 1
UNITS = "time fs, temperature K, energy eV, length Angstrom, moment mu_B"
LINK = "leopold_track"
STOPPED = ("unstable", "carrier_lost", "carriers_merged")  # `status` of a replica that a guard stopped


class TrackError(ValueError):
    """A track, or track file, that cannot be used; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Windows:
    """Structures at full resolution around candidate hops: W windows of S frames each, n atoms.

    `positions` (W, S, n, 3), `step` (W, S) row of the track, `carrier` (W, S, n_carriers) charge state of the
    frame, `moments` (W, S, n) and `occupations` (W, S, n, 2) as the model gave them, `force_spread` (W, S)
    eV/Angstrom how far the networks of a committee disagree on the least certain force, 0 for one network.
    `n_missed` windows came after the store was full.
    """

    positions: np.ndarray
    step: np.ndarray
    carrier: np.ndarray
    moments: np.ndarray
    occupations: np.ndarray
    force_spread: np.ndarray
    n_missed: int = 0

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class ReplicaTrack:
    """One replica: T production steps, the k largest moments of each, thermodynamics every `stride` rows.

    `sites` (T, k) and `moments` (T, k), moments descending; `carrier` (T, n_carriers) the charge state used for
    that step; `cell` (3, 3) and `positions` (n, 3) of the start; `mean_positions` (n, 3) averaged over the run,
    unwrapped, or None; `energy`, `kinetic_temperature`, `conserved` (ceil(T / stride),) at rows 0, stride, ...
    `temperature` is the target, K; `timestep` the time between rows, fs. `ending` is one window of what led to where a
    guard stopped the replica; those steps are not among the T, and below 0 they are of the equilibration.
    """

    temperature: float
    replica: int
    timestep: float
    seed: int
    sites: np.ndarray
    moments: np.ndarray
    carrier: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    mean_positions: np.ndarray | None = None
    stride: int = 1
    energy: np.ndarray | None = None
    kinetic_temperature: np.ndarray | None = None
    conserved: np.ndarray | None = None
    windows: Windows | None = None
    ending: Windows | None = None
    status: str = "finished"

    def __post_init__(self):
        if np.ndim(self.sites) != 2 or np.shape(self.sites) != np.shape(self.moments):
            raise TrackError(
                f"replica {self.replica}: sites {np.shape(self.sites)} and moments {np.shape(self.moments)} "
                "must both be (steps, tracked sites)"
            )
        if len(self.carrier) != len(self.sites):
            raise TrackError(
                f"replica {self.replica}: carrier has {len(self.carrier)} rows, sites {len(self.sites)}: "
                "one row per step"
            )
        if not self.timestep > 0:
            raise TrackError(f"replica {self.replica}: timestep = {self.timestep} fs: must be positive")

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def times(self) -> np.ndarray:
        """Time of each row, (T,) fs, from 0."""
        return np.arange(len(self.sites)) * self.timestep

    @property
    def duration(self) -> float:
        """Observed time, fs: one timestep per row."""
        return len(self.sites) * self.timestep


@dataclass(frozen=True)
class TrackFile:
    """All replicas of a run: the same atoms `numbers` (n,), the same `n_carriers` of kind `carrier`."""

    numbers: np.ndarray
    carrier: str
    n_carriers: int
    replicas: tuple[ReplicaTrack, ...]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Distinct target temperatures, ascending, K."""
        return tuple(sorted({r.temperature for r in self.replicas}))


_KINDS = {
    "sites": np.int32, "moments": np.float32, "carrier": np.int32, "cell": float, "positions": float,
    "mean_positions": float, "energy": float, "kinetic_temperature": float, "conserved": float,
}  # fmt: skip
_ATTRIBUTES = ("temperature", "replica", "timestep", "seed", "status", "stride")
_WINDOW_KINDS = {
    "positions": np.float32, "step": np.int64, "carrier": np.int32, "moments": np.float32,
    "occupations": np.float32, "force_spread": np.float32,
}  # fmt: skip
_WINDOWS = ("windows", "ending")
_NAMES = {"kinetic_temperature": "temperature"}  # dataset names that differ from the field


def write_track(path: str | Path, track: TrackFile) -> None:
    """Write the whole track; the file appears complete or not at all, and equal tracks give equal bytes."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with h5py.File(partial, "w") as h5:
        h5.attrs.update(
            format=FORMAT,
            version=FORMAT_VERSION,
            units=UNITS,
            carrier=track.carrier,
            n_carriers=track.n_carriers,
        )
        _put(h5, "numbers", track.numbers, np.int32)
        for index, replica in enumerate(track.replicas):
            group = h5.create_group(f"replica_{index:03d}")
            for name in _ATTRIBUTES:
                group.attrs[name] = getattr(replica, name)
            for name, kind in _KINDS.items():
                _put(group, _NAMES.get(name, name), getattr(replica, name), kind)
            for part in _WINDOWS:
                windows = getattr(replica, part)
                if windows is not None:
                    into = group.create_group(part)
                    into.attrs["n_missed"] = windows.n_missed
                    for name, kind in _WINDOW_KINDS.items():
                        _put(into, name, getattr(windows, name), kind)
    os.replace(partial, path)


def read_track(path: str | Path) -> TrackFile:
    """Read a track file, or the track that a trajectory file links to."""
    path = Path(path)
    if not path.is_file():
        raise TrackError(f"track file {str(path)!r} does not exist")
    with open_hdf5(path, TrackError, "give track.h5 of `leopold md`", linked=LINK) as h5:
        beside = _linked(h5, path) if h5.attrs.get("format") != FORMAT else None
        if beside is None:
            return _read(h5, path)
    with open_hdf5(beside, TrackError, "give track.h5 of `leopold md`") as h5:
        return _read(h5, beside)


def _read(h5: h5py.File, path: Path) -> TrackFile:
    if h5.attrs.get("format") != FORMAT:
        raise TrackError(f"{path} holds no carrier track; give track.h5 or trajectory.h5 of `leopold md`")
    if h5.attrs["version"] > FORMAT_VERSION:
        raise TrackError(f"{path} has track format {h5.attrs['version']}, newer than {FORMAT_VERSION}: update leopold")
    return TrackFile(
        numbers=h5["numbers"][()],
        carrier=str(h5.attrs["carrier"]),
        n_carriers=int(h5.attrs["n_carriers"]),
        replicas=tuple(_replica(h5[name]) for name in sorted(h5) if name.startswith("replica_")),
    )


def merge(tracks: Sequence[TrackFile]) -> TrackFile:
    """One track of all replicas of several runs on the same atoms and carriers."""
    first = tracks[0]
    for other in tracks[1:]:
        if not np.array_equal(first.numbers, other.numbers):
            raise TrackError("tracks of different atoms cannot be merged: numbers differ; analyse them one by one")
        if (first.carrier, first.n_carriers) != (other.carrier, other.n_carriers):
            raise TrackError(
                f"tracks of {first.n_carriers} {first.carrier}(s) and of {other.n_carriers} {other.carrier}(s) "
                "cannot be merged"
            )
    return TrackFile(first.numbers, first.carrier, first.n_carriers, tuple(r for t in tracks for r in t.replicas))


def _put(group, name: str, value, kind) -> None:
    if value is None:
        return
    value = np.asarray(value, dtype=kind)
    compression = {"compression": "gzip", "shuffle": True} if value.size > 64 else {}
    group.create_dataset(name, data=value, track_times=False, **compression)


def _linked(h5: h5py.File, path: Path) -> Path | None:
    """The track file that a trajectory links to, which lies beside it and nowhere else; None without a link."""
    link = h5.get(LINK, getlink=True)
    if not isinstance(link, h5py.ExternalLink):
        return None
    beside = path.with_name(Path(link.filename).name)
    if link.filename != beside.name or not beside.is_file():
        raise TrackError(f"{path} links to {link.filename!r}, which is not beside it: copy it there, or give it itself")
    return beside


def _replica(group) -> ReplicaTrack:
    values: dict = {name: group.attrs[name] for name in _ATTRIBUTES}
    values = {k: v if isinstance(v, str) else v.item() for k, v in values.items()}
    for field in _KINDS:
        name = _NAMES.get(field, field)
        if name in group:
            values[field] = group[name][()]
    for part in _WINDOWS:
        if part in group:
            arrays = {name: group[part][name][()] for name in _WINDOW_KINDS}
            values[part] = Windows(**arrays, n_missed=int(group[part].attrs["n_missed"]))
    return ReplicaTrack(**values)
