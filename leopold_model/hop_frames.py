"""Structures across hops, cut out of the windows that dynamics kept around every change of charge state; and those
before a guard stopped it.

They carry the charge state, moments and occupations the model gave them, so that they can be labelled with the carrier
where the model has it and held against the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from leopold_model.analysis.catalogue import Catalogue
from leopold_model.frames import Frame
from leopold_model.tracks import ReplicaTrack, TrackFile, Windows

OFFSETS = (-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0)  # fs from the crossing


def all_frames(track: TrackFile, catalogue: Catalogue, offsets: Sequence[float] = OFFSETS) -> Iterator[Frame]:
    """Frames across every hop of a track that has a window, at `offsets` (fs) from the crossing."""
    replicas = {r.replica: r for r in track.replicas}
    for found in catalogue.replicas:
        replica = replicas[found.replica]
        for hop in found.table.hops:
            window = window_of(replica, hop.time)
            if window is not None:
                yield from across(track, replica, window, hop.time, offsets, run=found.run, pathway=hop.pathway)


def window_of(replica: ReplicaTrack, time: float) -> int | None:
    """The window that spans the crossing at `time` (fs) with it nearest to its middle; None where there is none."""
    windows, row = replica.windows, time / replica.timestep
    if windows is None or not len(windows):
        return None
    spanning = np.flatnonzero((windows.step[:, 0] <= row) & (row <= windows.step[:, -1]))
    if not len(spanning):
        return None
    middle = windows.step[spanning].mean(axis=1)
    return int(spanning[np.argmin(np.abs(middle - row))])


def across(
    track: TrackFile,
    replica: ReplicaTrack,
    window: int,
    time: float,
    offsets: Sequence[float],
    *,
    run: str,
    pathway: str,
) -> list[Frame]:
    """Frames of one window at `offsets` (fs) from the crossing at `time` (fs), as near as the window has them. They
    share a `run` named after the hop."""
    assert replica.windows is not None
    row = time / replica.timestep
    hop = f"{run}-r{replica.replica:03d}-t{round(row):06d}"
    return _frames(track, replica, replica.windows, window, [row + o / replica.timestep for o in offsets], hop, pathway)


def before_stop(track: TrackFile, replica: ReplicaTrack, times: Sequence[float], *, run: str) -> list[Frame]:
    """Frames at `times` (fs) before a guard stopped the replica, as near as there are; none if none did, or at once."""
    if replica.ending is None:
        return []
    end = replica.ending.step[0, -1]
    name = f"{run}-r{replica.replica:03d}-stop"
    return _frames(track, replica, replica.ending, 0, [end - t / replica.timestep for t in times], name, "")


def _frames(
    track: TrackFile, replica: ReplicaTrack, windows: Windows, window: int, at: Sequence[float], run: str, pathway: str
) -> list[Frame]:
    """Frames of a window nearest to the rows `at`."""
    rows = windows.step[window]
    nearest = sorted({int(np.argmin(np.abs(rows - row))) for row in at})
    return [
        Frame(
            numbers=track.numbers,
            positions=windows.positions[window, k],
            cell=replica.cell,
            occupations=windows.occupations[window, k],
            moments=windows.moments[window, k],
            carrier=track.carrier,
            carrier_sites=tuple(sorted(windows.carrier[window, k])),
            requested_sites=tuple(sorted(windows.carrier[window, k])),
            source="ml",
            run=run,
            step=int(rows[k]),
            label=f"{run}-s{rows[k]:06d}",
            pathway=pathway,
            temperature=replica.temperature,
        )
        for k in nearest
    ]
