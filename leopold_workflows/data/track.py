"""`TrackData` (`leopold.track`): where the carrier was at every step of dynamics, and the windows around its hops."""

from __future__ import annotations

from pathlib import Path

import h5py

from leopold_model.foreign import open_hdf5
from leopold_workflows.data.fixed_file import FixedFileData


class TrackData(FixedFileData):
    """A `track.h5` written by `leopold md`: one group per replica, read with `leopold_model.tracks.read_track`.

    Attributes to query: `temperatures` (K, one per replica), `n_replicas`, `seeds`, `status` (one per replica),
    `duration` (fs, all replicas together), `n_windows`, `carrier`, `n_carriers`.
    """

    FILE = "track.h5"

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        with open_hdf5(path, ValueError, "give track.h5 of `leopold md`") as h5:
            if h5.attrs.get("format") != "leopold-track":
                raise ValueError(f"{path.name} holds no LEOPOLD carrier track")
            replicas = [h5[name] for name in sorted(h5) if name.startswith("replica")]
            return {
                "n_replicas": len(replicas),
                "temperatures": [float(r.attrs["temperature"]) for r in replicas],
                "seeds": [int(r.attrs["seed"]) for r in replicas if "seed" in r.attrs],
                "status": [_text(r.attrs.get("status", "finished")) for r in replicas],
                "duration": float(sum(len(r["sites"]) * float(r.attrs["timestep"]) for r in replicas)),
                "n_windows": int(sum(_n_windows(r) for r in replicas)),
                "carrier": _text(h5.attrs.get("carrier", "")),
                "n_carriers": int(h5.attrs.get("n_carriers", 1)),
            }


def _n_windows(replica: h5py.Group) -> int:
    windows = replica.get("windows")
    return 0 if windows is None or "positions" not in windows else len(windows["positions"])


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
