"""The carrier track of labelled frames, so that hops along first-principles dynamics are counted like learned ones.

Every `run` of the frames is one replica. Its frames must be evenly spaced in steps and of one cell, with moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from leopold_model.frames import Frame
from leopold_model.tracks import ReplicaTrack, TrackError, TrackFile

TRACKED = 6  # largest moments kept of each frame


def track_of_frames(frames: Sequence[Frame], timestep: float) -> TrackFile:
    """The track of `frames` whose steps are `timestep` fs apart; TrackError names the run and frame that does not fit.

    The number of carriers is that of the frames' `carrier_sites`, one where they name none; a replica's temperature the
    mean over its frames, which hold the thermostat's or that of the step.
    """
    if not frames:
        raise TrackError("there are no frames: nothing to count hops in")
    first = frames[0]
    n_carriers = max(1, len(first.carrier_sites))
    for frame in frames:
        if not np.array_equal(frame.numbers, first.numbers) or frame.carrier != first.carrier:
            raise TrackError(
                f"{_where(frame)}: other atoms or another carrier than in {_where(first)}: count the hops of each alone"
            )
        if frame.carrier_sites and len(frame.carrier_sites) != n_carriers:
            raise TrackError(
                f"{_where(frame)}: {len(frame.carrier_sites)} carrier sites, {n_carriers} before: carriers merged or "
                "were lost; leave out what follows"
            )
    ordered = sorted(frames, key=lambda frame: (frame.run, frame.step))
    replicas = tuple(
        _replica(list(run), number, n_carriers, timestep)
        for number, (_, run) in enumerate(groupby(ordered, key=lambda frame: frame.run))
    )
    return TrackFile(first.numbers, first.carrier, n_carriers, replicas)


def _replica(frames: list[Frame], number: int, n_carriers: int, timestep: float) -> ReplicaTrack:
    first = frames[0]
    strides = np.diff([frame.step for frame in frames])
    for frame, stride in zip(frames[1:], strides, strict=True):
        if stride < 1 or stride != strides[0]:
            raise TrackError(
                f"{_where(frame)}: {stride} steps after the frame before, {strides[0]} at the beginning: the run has a "
                "gap, or frames were selected from it; give every part its own `run`"
            )
        if not np.allclose(frame.cell, first.cell, atol=1e-4):
            raise TrackError(
                f"{_where(frame)}: its cell is not that of the first frame: hops are counted in one cell; run at "
                "constant volume, at the mean cell of the NPT run"
            )
    moments = np.array([_moments(frame) for frame in frames])
    kept = np.argsort(-moments, axis=1, kind="stable")[:, : max(TRACKED, n_carriers + 1)]
    temperature = float(np.mean([frame.temperature for frame in frames]))
    if np.isnan(temperature):
        raise TrackError(
            f"run {first.run!r}: there are frames without a temperature, which belongs to every rate: give runs of "
            "molecular dynamics (IBRION = 0)"
        )
    scaled = np.array([frame.positions @ np.linalg.inv(first.cell) for frame in frames])
    # through the boundary and back by whole vectors: each frame is near the one before
    scaled[1:] -= np.cumsum(np.round(np.diff(scaled, axis=0)), axis=0)
    return ReplicaTrack(
        temperature=temperature,
        replica=number,
        timestep=timestep * (int(strides[0]) if len(strides) else 1),
        seed=0,
        sites=kept,
        moments=np.take_along_axis(moments, kept, axis=1),
        carrier=kept[:, :n_carriers],
        cell=first.cell,
        positions=first.positions,
        mean_positions=scaled.mean(axis=0) @ first.cell,
    )


def _moments(frame: Frame) -> np.ndarray:
    if frame.spin_moments is None:
        raise TrackError(
            f"{_where(frame)}: neither occupations nor moments: where its carrier is cannot be told; have VASP print "
            "them (LORBIT = 11, or LDAUPRINT = 2) at every step"
        )
    return frame.spin_moments


def _where(frame: Frame) -> str:
    return f"run {frame.run!r}, step {frame.step}"
