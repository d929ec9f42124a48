"""Frames near a crossing are learned with both charge states, as dynamics will ask for them.

In dynamics the network is told the carrier sites of the step before and answers with the moments of this one; a hop is
an answer that differs from what it was told. Frames of a run are told their own carrier sites; a network trained only
on them learns that the carrier is wherever it is told to be: it fits every frame and never hops. Two kinds of frames
carry the missing knowledge, and are learned again with the other charge state and the same labels:

* the first steps after the carrier of a run moved, told the sites of before: the map (R_t, c_{t-1}) -> state at t;
* a state shared between two sites, told the second one: it is one state, whichever of the two bears the flag.

What such a copy teaches is its moments. Its energy and forces are those of another charge state, which dynamics visits
for one step and leaves; asked for in full they cost accuracy everywhere else (`CrossingConfig.surface`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leopold_model.frames import Frame, replace


def other_charge_states(frames: Sequence[Frame], lag: int, sharing: float) -> list[Frame]:
    """Copies of those of `frames` that are near a crossing, told the other charge state.

    `lag` is the number of steps after a move of the carrier that are told the sites before it; frames further apart say
    nothing about single steps. `sharing` is the moment of the strongest other site over the weakest carrier site from
    which on a state counts as shared by the two.
    """
    copies: dict[tuple[int, tuple[int, ...]], Frame] = {}
    for k, sites in (*_told_late(frames, lag), *_shared(frames, sharing)):
        copies[k, sites] = replace(frames[k], carrier_sites=sites)
    return list(copies.values())


def _told_late(frames: Sequence[Frame], lag: int):
    order = sorted(range(len(frames)), key=lambda k: (frames[k].run, frames[k].step))
    for position, k in enumerate(order):
        frame = frames[k]
        for earlier in reversed(order[max(0, position - lag) : position]):
            before = frames[earlier]
            if before.run != frame.run or not 0 < frame.step - before.step <= lag:
                break
            if before.carrier_sites != frame.carrier_sites:
                yield k, before.carrier_sites


def _shared(frames: Sequence[Frame], sharing: float):
    for k, frame in enumerate(frames):
        carriers, moments = frame.carrier_sites, frame.spin_moments
        if moments is None or not carriers or len(carriers) == len(moments):
            continue
        weakest = min(carriers, key=lambda site: moments[site])
        others = np.delete(np.arange(len(moments)), carriers)
        strongest = int(others[np.argmax(moments[others])])
        if moments[strongest] >= sharing * moments[weakest] > 0:
            yield k, tuple(sorted({*carriers, strongest} - {weakest}))
