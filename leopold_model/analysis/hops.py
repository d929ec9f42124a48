"""Committed hops from site moments: a core-set state machine on the magnetization.

A change of the largest moment is not a hop: near a crossing the two moments trade places several times. The carrier
is in the core of site j when j leads and m_j / (m_j + m_next) > `core`, m_next being the largest moment elsewhere. It
keeps its site until it enters the core of another (it has left i when m_i / (m_i + m_j) < 1 - `core`), and it has
arrived when it spent at least `tau_min` in the new core before any other core is entered. Dips below `core` that
enter no other core neither end a stay nor count towards `tau_min`. Stays that are too short are excursions when the
carrier comes back; when it goes on to a third site the hop is recorded from the first to the last, with the sites on
the way (`via`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from leopold_model.analysis import AnalysisError
from leopold_model.frames import RESOLVED, resolved

STAY = 1e-6  # Angstrom, by which a carrier that stays is preferred to two that move as far together
TAU_TABLE = (5.0, 10.0, 20.0, 50.0, 100.0, 150.0, 200.0)  # fs, reported beside every hop count


@dataclass(frozen=True)
class Track:
    """Largest moments along a trajectory: `times` (T,) fs, evenly spaced; `sites` (T, k) atoms; `moments` (T, k)
    mu_B.

    k must be at least n_carriers + 1. Rows are sorted here by descending moment.
    """

    times: np.ndarray
    sites: np.ndarray
    moments: np.ndarray
    n_carriers: int = 1

    def __post_init__(self):
        times, sites, moments = np.asarray(self.times, float), np.asarray(self.sites), np.asarray(self.moments, float)
        if len(times) == 0:
            raise AnalysisError("the track is empty (0 steps): no production step was recorded; run longer")
        if sites.shape != moments.shape or sites.shape[:1] != times.shape:
            raise AnalysisError(
                f"times {times.shape}, sites {sites.shape}, moments {moments.shape}: need (T,), (T, k), (T, k)"
            )
        if sites.shape[1] <= self.n_carriers:
            raise AnalysisError(
                f"{sites.shape[1]} moments per step for {self.n_carriers} carrier(s): at least {self.n_carriers + 1} "
                "are needed to tell a shared carrier from a localised one; raise n_tracked"
            )
        if not np.isfinite(moments).all():
            raise AnalysisError(f"moments are missing at step {int(np.argmax(~np.isfinite(moments).all(axis=1)))}")
        steps = np.diff(times)
        if len(steps) and not np.allclose(steps, steps[0], rtol=1e-3):
            row = int(np.argmax(~np.isclose(steps, steps[0], rtol=1e-3)))
            raise AnalysisError(
                f"the track has a gap: {steps[row]:g} fs after t = {times[row]:g} fs, {steps[0]:g} fs elsewhere; "
                "split it there"
            )
        if np.any(np.diff(moments, axis=1) > 0):
            order = np.argsort(-moments, axis=1, kind="stable")
            sites, moments = np.take_along_axis(sites, order, 1), np.take_along_axis(moments, order, 1)
        for name, value in (("times", times), ("sites", sites), ("moments", moments)):
            object.__setattr__(self, name, value)

    @property
    def timestep(self) -> float:
        """fs between rows; a single row stands for 1 fs."""
        return float(self.times[1] - self.times[0]) if len(self.times) > 1 else 1.0

    @property
    def duration(self) -> float:
        """fs observed."""
        return len(self.times) * self.timestep


@dataclass(frozen=True)
class Hop:
    """A committed hop of `carrier` from atom `i` to atom `j`.

    `time` (fs) of the last crossing m_i = m_j before arrival, interpolated; `dwell` (fs) on i since the previous hop,
    or since the start for a first one; `duration` (fs) from the last frame in the core of i to the first in that of
    j; `max_sharing` = max of 2 m_2 / (m_1 + m_2) meanwhile, with the two largest moments m_1 > m_2 on the sites of the
    hop, 1 when equally shared; `adiabatic`, whether it
    went through a state that neither core holds, or jumped from one to the other; `flickers` the changes of the leading
    site beyond the first; `via` the cores passed through for less than tau_min; `back` whether it undoes the previous
    hop of this carrier within the return time. Classification sets `legs`, the hop in the host as
    one key (s_i, s_j, R), or several when it was relayed by sites on the way; `pathway`, the class of every leg
    joined by ' + '; `vector` (3,), the ideal displacement in Angstrom; `ambiguous`, whether the supercell has several
    equally short images, of which one was drawn.
    """

    time: float
    i: int
    j: int
    carrier: int
    dwell: float
    duration: float
    max_sharing: float
    adiabatic: bool
    flickers: int
    via: tuple[int, ...] = ()
    back: bool = False
    pathway: str = ""
    legs: tuple[tuple[int, ...], ...] = ()
    vector: tuple[float, ...] = ()
    ambiguous: bool = False


@dataclass(frozen=True)
class HopTable:
    """Every committed hop of one trajectory, in time order, with what was not counted as one.

    `duration` fs; `first_sites` and `last_sites` (n_carriers,); `n_changes` raw changes of the leading sites;
    `n_excursions` departures that came back before committing; `counts` maps tau_min (fs) to the hops it would give;
    `unresolved` (fs) how long fewer sites held a carrier than there are carriers, two being on one or one being lost.
    No hop at all is a valid table.
    """

    hops: tuple[Hop, ...]
    duration: float
    first_sites: tuple[int, ...]
    last_sites: tuple[int, ...]
    n_changes: int
    n_excursions: int
    tau_min: float
    core: float
    return_time: float
    counts: dict[float, int] = field(default_factory=dict)
    unresolved: float = 0.0

    def __len__(self) -> int:
        return len(self.hops)

    @property
    def n_back(self) -> int:
        """Committed hops that undo the previous one within the return time."""
        return sum(hop.back for hop in self.hops)

    @property
    def n_relayed(self) -> int:
        """Committed hops that were relayed by a site on the way (known after classification)."""
        return sum(len(hop.legs) > 1 for hop in self.hops)


def find_hops(
    track: Track,
    *,
    tau_min: float = 50.0,
    core: float = 0.7,
    return_time: float = 200.0,
    distance: Callable[[int, int], float] | None = None,
) -> HopTable:
    """The committed hops of a track.

    `tau_min` (fs) about one vibration of the polaron; `core` the share at which a site is reached, 1 - core that at
    which it is left; `return_time` (fs) within which an undone hop is a back-hop; `distance(i, j)` (Angstrom, minimum
    image), needed with several carriers: identities follow the smallest total displacement.
    """
    if not tau_min > 0:
        raise AnalysisError(f"tau_min = {tau_min} fs must be positive")
    if not 0.5 < core < 1:
        raise AnalysisError(f"core = {core}: the share of a site that holds the carrier, between 0.5 and 1")
    if track.n_carriers > 1 and distance is None:
        raise AnalysisError("several carriers: give distance(i, j), which keeps their identities apart")
    lanes = _lanes(track, core, distance)
    timestep = track.timestep
    n_changes = int(sum(np.count_nonzero(np.diff(lane)) for lane in lanes))
    hops: list[Hop] = []
    counts = dict.fromkeys(sorted({*TAU_TABLE, tau_min}), 0)
    first, last, n_excursions = [], [], 0
    # the largest moment outside the carriers' sites; for one carrier simply the second
    rival = track.moments[:, track.n_carriers]
    for carrier, lane in enumerate(lanes):
        own = track.moments[np.arange(len(lane)), np.argmax(track.sites == lane[:, None], axis=1)]
        # what a lost carrier leaves behind may lead its neighbours, and is no site of a carrier
        in_core = (own > core * (own + rival)) & (own >= RESOLVED * track.moments[:, 0])
        stays = _stays(lane, in_core)
        for tau in counts:
            counts[tau] += max(len(_merge(_committed(stays, tau, timestep))) - 1, 0)
        counted = _merge(_committed(stays, tau_min, timestep))
        first.append(int(counted[0].site if counted else lane[0]))
        last.append(int(counted[-1].site if counted else lane[-1]))
        n_excursions += _excursions(lane, counted)
        others = np.array([other for k, other in enumerate(lanes) if k != carrier], dtype=int).reshape(-1, len(lane))
        hops += _hops_of(track, carrier, lane, others, stays, counted, core, return_time)
    return HopTable(
        hops=tuple(sorted(hops, key=lambda hop: (hop.time, hop.carrier))),
        duration=track.duration,
        first_sites=tuple(first),
        last_sites=tuple(last),
        n_changes=n_changes,
        n_excursions=n_excursions,
        tau_min=tau_min,
        core=core,
        return_time=return_time,
        counts=counts,
        unresolved=float(np.count_nonzero(~resolved(track.moments, track.n_carriers)) * timestep),
    )


def is_adiabatic(max_sharing: float, core: float) -> bool:
    """Whether a crossing was seen between the cores, where neither site has the share `core`: then the carrier moved
    continuously over both. It jumped when every row belongs to one core or the other. Rows further apart than a
    crossing lasts (some fs) see jumps only."""
    return max_sharing > 2 * (1 - core)


# ---------------------------------------------------------------------------------------------------- machinery


@dataclass(frozen=True)
class _Stay:
    """Rows from `start` to `end`, both in the core of `site`, with `n_core` rows in core and none in another core."""

    site: int
    start: int
    end: int
    n_core: int


def _lanes(track: Track, core: float, distance) -> list[np.ndarray]:
    """Leading site of each carrier, n_carriers arrays (T,).

    The leading sites of a row are dealt out so that the total displacement from where each carrier was last in a core
    is smallest; at a tie carriers stay. Not from the row before: while two carriers cross at once, both halves of one
    of them may lead, and the other would inherit a site of its neighbour.
    """
    n = track.n_carriers
    if n == 1:
        return [track.sites[:, 0]]
    order = np.argsort(track.sites[:, :n], axis=1)
    leading, moments = (np.take_along_axis(x[:, :n], order, 1) for x in (track.sites, track.moments))
    in_core = moments > np.maximum(core * (moments + track.moments[:, n, None]), RESOLVED * track.moments[:, :1])
    states = np.hstack([leading, in_core])
    bounds = [0, *np.flatnonzero(np.any(np.diff(states, axis=0) != 0, axis=1)) + 1, len(states)]
    home = leading[0].copy()
    lanes = np.empty((n, len(leading)), dtype=leading.dtype)
    cost = cache(lambda i, j: distance(i, j) + STAY * (i != j))
    for start, end in pairwise(bounds):
        matrix = [[cost(int(i), int(j)) for j in leading[start]] for i in home]
        columns = linear_sum_assignment(matrix)[1]
        lanes[:, start:end] = leading[start, columns, None]
        home = np.where(in_core[start, columns], leading[start, columns], home)
    return list(lanes)


def _stays(lane: np.ndarray, in_core: np.ndarray) -> list[_Stay]:
    """Successive stays in different cores; rows outside every core belong to none."""
    rows = np.flatnonzero(in_core)
    if not len(rows):
        return []
    sites = lane[rows]
    cuts = np.flatnonzero(np.diff(sites)) + 1
    return [
        _Stay(int(sites[a]), int(rows[a]), int(rows[b - 1]), int(b - a))
        for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)
    ]


def _committed(stays: Sequence[_Stay], tau_min: float, timestep: float) -> list[_Stay]:
    return [stay for stay in stays if stay.n_core * timestep >= tau_min - 1e-9]


def _merge(stays: Sequence[_Stay]) -> list[_Stay]:
    """Successive stays on one site are one stay: what lay between came back."""
    merged: list[_Stay] = []
    for stay in stays:
        if merged and merged[-1].site == stay.site:
            before = merged.pop()
            stay = _Stay(stay.site, before.start, stay.end, before.n_core + stay.n_core)
        merged.append(stay)
    return merged


def _excursions(lane: np.ndarray, counted: Sequence[_Stay]) -> int:
    """Departures that came back: within a stay, each contiguous time another site leads."""
    total = 0
    for stay in counted:
        away = lane[stay.start : stay.end + 1] != stay.site
        total += int(np.count_nonzero(np.diff(away.astype(int)) == 1))
    return total


def _hops_of(track, carrier, lane, others, stays, counted, core, return_time) -> list[Hop]:
    hops: list[Hop] = []
    for before, after in pairwise(counted):
        rows = slice(before.end, after.start + 1)
        m_i, m_j = (_own_moment(track, others, site, rows) for site in (before.site, after.site))
        difference = m_j - m_i
        crossing = int(np.flatnonzero(difference <= 0)[-1])  # the last row in which i still holds at least as much
        rise = difference[crossing + 1] - difference[crossing]
        time = track.times[before.end + crossing] - difference[crossing] / rise * track.timestep
        previous = hops[-1] if hops else None
        dwell = float(time - (previous.time if previous else track.times[0]))
        via = _via(before, after, stays)
        sharing = _max_sharing(track, lane, others, (before.site, *via, after.site), rows)
        hops.append(
            Hop(
                time=float(time),
                i=before.site,
                j=after.site,
                carrier=carrier,
                dwell=dwell,
                duration=float(track.times[after.start] - track.times[before.end]),
                max_sharing=sharing,
                adiabatic=is_adiabatic(sharing, core),
                flickers=max(int(np.count_nonzero(np.diff(lane[rows]))) - 1, 0),
                via=via,
                back=bool(previous and previous.i == after.site and previous.j == before.site and dwell < return_time),
            )
        )
    return hops


def _via(before: _Stay, after: _Stay, stays: Sequence[_Stay]) -> tuple[int, ...]:
    """Sites whose core was crossed on the way, without the detours that came back."""
    path = [before.site]
    first, last = (bisect_left(stays, row, key=lambda stay: stay.start) for row in (before.end + 1, after.start))
    for stay in stays[first:last]:
        path = path[: path.index(stay.site)] if stay.site in path else path
        path.append(stay.site)
    return tuple(site for site in path[1:] if site != after.site)


def _max_sharing(track: Track, lane: np.ndarray, others: np.ndarray, path: tuple[int, ...], rows: slice) -> float:
    held = np.isin(lane[rows], path)  # elsewhere the sites of the path share nothing but noise
    second, first = np.sort([_own_moment(track, others, site, rows)[held] for site in path], axis=0)[-2:]
    return float(np.max(2 * second / (first + second)))


def _own_moment(track: Track, others: np.ndarray, site: int, rows: slice) -> np.ndarray:
    """Moment of one site over rows, (r,); 0 where it is not among the k largest, and where another carrier has the
    site (`others` (n - 1, T) are their lanes): one that follows takes the place the first has just left."""
    moment = np.where(track.sites[rows] == site, track.moments[rows], 0.0).sum(axis=1)
    return np.where((others[:, rows] == site).any(axis=0), 0.0, moment)
