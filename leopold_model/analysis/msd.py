"""Mean squared displacement of carriers on ideal sites, and the diffusion tensor from its slope at short lags.

A straight line through long lags of one trajectory's MSD scatters by tens of per cent while its least-squares error
claims less than one: neighbouring lags share their data. Here the slope is taken between two short lags beyond the
memory of the walk (back-hops), and its error comes from independent replicas or blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from leopold_model.analysis import AnalysisError

IDENTITY = np.eye(3)[None]


@dataclass(frozen=True)
class Walk:
    """Hops of one carrier: `times` (h,) fs ascending, `steps` (h, 3) ideal displacements in Angstrom, `duration`
    fs."""

    times: np.ndarray
    steps: np.ndarray
    duration: float

    def positions(self, dt: float) -> np.ndarray:
        """Displacement (n, 3) from the start at 0, dt, 2 dt, ... fs."""
        grid = np.arange(int(self.duration / dt)) * dt
        path = np.vstack([np.zeros(3), np.cumsum(np.reshape(self.steps, (-1, 3)), axis=0)])
        return path[np.searchsorted(self.times, grid, side="right")]

    def blocks(self, n: int) -> list[Walk]:
        """n walks of equal duration that follow each other."""
        edges = np.linspace(0, self.duration, n + 1)
        rows = np.searchsorted(self.times, edges)
        rows[-1] = len(self.times)
        return [
            Walk(self.times[a:b] - start, self.steps[a:b], self.duration / n)
            for a, b, start in zip(rows[:-1], rows[1:], edges[:-1], strict=True)
        ]


@dataclass(frozen=True)
class Estimate:
    """A value with samples of its error distribution on the first axis of `samples` (b, ...)."""

    value: np.ndarray
    samples: np.ndarray

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Central interval, element by element; it reaches to the value, which is zero, and no sample is, where there
        was nothing to count."""
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.samples, (tail, 1 - tail), axis=0)
        return np.minimum(low, self.value), np.maximum(high, self.value)

    def map(self, function) -> Estimate:
        """`function` of the value and of every sample, e.g. the trace of a tensor."""
        return Estimate(np.asarray(function(self.value)), np.array([function(s) for s in self.samples]))

    def scaled(self, factor: float) -> Estimate:
        """The estimate in other units."""
        return Estimate(self.value * factor, self.samples * factor)

    @property
    def isotropic(self) -> Estimate:
        """A third of the trace of a tensor."""
        return Estimate(np.trace(self.value) / 3, np.trace(self.samples, axis1=-2, axis2=-1) / 3)

    def to_dict(self) -> dict:
        """JSON-ready value and 95 % interval."""
        low, high = self.interval()
        return {"value": np.asarray(self.value).tolist(), "low": low.tolist(), "high": high.tolist()}


def msd(positions: np.ndarray, n_lags: int | None = None) -> np.ndarray:
    """MSD tensor (n_lags, 3, 3), Angstrom^2, of positions (n, 3) at lags 0, 1, ... steps, averaged over all origins.

    By fast Fourier transform in O(n log n) (Calandrini et al., Collection SFN 12, 201, 2011).
    """
    n = len(positions)
    n_lags = n if n_lags is None else min(n_lags, n)
    x = positions - positions.mean(axis=0)
    spectrum = np.fft.rfft(x, n=2 * n, axis=0)
    # sum over origins of x_a(t + lag) x_b(t)
    cross = np.fft.irfft(spectrum[:, :, None] * spectrum.conj()[:, None, :], n=2 * n, axis=0)[:n_lags]
    products = x[:, :, None] * x[:, None, :]
    forward = np.cumsum(products[::-1], axis=0)[::-1][:n_lags]  # sum over t >= lag
    backward = np.cumsum(products, axis=0)[::-1][:n_lags]  # sum over t < n - lag
    origins = (n - np.arange(n_lags))[:, None, None]
    return (forward + backward - cross - cross.transpose(0, 2, 1)) / origins


@dataclass(frozen=True)
class MSDResult:
    """`diffusion` (3, 3) in Angstrom^2/fs from the slope between `first_lag` and `last_lag` (fs); `lags` (l,) fs with
    the running D(lag), a third of the trace, as `curve` (l,) and its standard error `curve_error` (l,);
    `uncorrelated` (3, 3) from the same data without memory, sum of d d^T / (2 t); `correlation`, the ratio of the
    traces; `plateau`, whether the slope beyond `last_lag` is the same at 95 %; `n_units` independent pieces behind the
    errors."""

    diffusion: Estimate
    uncorrelated: Estimate
    correlation: Estimate
    first_lag: float
    last_lag: float
    lags: np.ndarray
    curve: np.ndarray
    curve_error: np.ndarray
    plateau: bool
    n_units: int


def short_lag_diffusion(
    walks: Sequence[Walk],
    *,
    memory: float = 200.0,
    seed: int = 0,
    n_samples: int = 1000,
    min_units: int = 8,
    point_group: np.ndarray = IDENTITY,
) -> MSDResult:
    """Diffusion tensor from the MSD slope at short lags, with errors from independent pieces.

    `walks` of one temperature; `memory` (fs) the time over which hops are correlated at least (the back-hop time);
    tensors are averaged over the Cartesian rotations `point_group` (o, 3, 3) of the host. The slope is taken from the
    larger of `memory` and twice the mean dwell to at least twice that and at least 2 % of a walk. Fewer than
    `min_units` walks are cut into blocks. Bootstrap over the pieces with `seed`, widened by Student's factor for their
    small number and skewed as a sum of squared displacements is (95 % intervals then hold the truth in 94 to 95 of
    100 cases, from 100 hops on).
    """
    total = sum(walk.duration for walk in walks)
    n_hops = sum(len(walk.times) for walk in walks)
    if n_hops == 0:
        raise AnalysisError(f"no hop in {total / 1e3:.1f} ps: there is no MSD; run longer or hotter")
    first = max(memory, 2 * total / n_hops)
    last = max(2 * first, 0.02 * min(walk.duration for walk in walks))
    pieces = -(-min_units // len(walks))
    units = [unit for walk in walks for unit in walk.blocks(pieces)]
    if min(unit.duration for unit in units) < 2 * last:
        raise AnalysisError(
            f"walks of {total / len(walks) / 1e3:.1f} ps are too short for a diffusion coefficient from lags up to "
            f"{last / 1e3:.2f} ps in {pieces} blocks: run longer, hotter, or more replicas"
        )
    dt = first / 20
    n_lags = min(int(3 * last / dt) + 2, *(int(unit.duration / dt) for unit in units))
    curves = np.array([msd(unit.positions(dt), n_lags) for unit in units])  # (u, l, 3, 3)
    weights = np.array([unit.duration for unit in units])
    a, b = round(first / dt), round(last / dt)
    slopes = (curves[:, b] - curves[:, a]) / (2 * (b - a) * dt)
    memoryless = np.array([np.einsum("ha,hb->ab", u.steps, u.steps) / (2 * u.duration) for u in units])
    pairs = symmetrised(np.stack([slopes, memoryless], axis=1), point_group)
    mean = np.average(pairs, axis=0, weights=weights)
    samples = samples_around(mean, pairs, weights, n_samples=n_samples, seed=seed)
    ratio = np.trace(mean[0]) / np.trace(mean[1])
    traces = np.trace(samples, axis1=-2, axis2=-1)
    lags = np.arange(1, n_lags) * dt
    running = np.trace(curves[:, 1:], axis1=-2, axis2=-1) / (6 * lags)
    error = np.std(running, axis=0, ddof=1) / np.sqrt(len(units))
    late = (np.trace(curves[:, -1] - curves[:, b], axis1=-2, axis2=-1)) / (6 * (n_lags - 1 - b) * dt)
    early = np.trace(slopes, axis1=-2, axis2=-1) / 3
    drift = late - early
    return MSDResult(
        diffusion=Estimate(mean[0], samples[:, 0]),
        uncorrelated=Estimate(mean[1], samples[:, 1]),
        correlation=Estimate(ratio, traces[:, 0] / traces[:, 1]),
        first_lag=a * dt,
        last_lag=b * dt,
        lags=lags,
        curve=np.average(running, axis=0, weights=weights),
        curve_error=error,
        plateau=bool(abs(np.mean(drift)) < t.ppf(0.975, len(units) - 1) * np.std(drift, ddof=1) / np.sqrt(len(units))),
        n_units=len(units),
    )


def symmetrised(tensors: np.ndarray, point_group: np.ndarray) -> np.ndarray:
    """Tensors (..., 3, 3) averaged over Cartesian rotations (o, 3, 3)."""
    return np.einsum("oab,...bc,odc->...ad", point_group, tensors, point_group) / len(point_group)


def samples_around(
    mean: np.ndarray, values: np.ndarray, weights: np.ndarray, *, n_samples: int, seed: int
) -> np.ndarray:
    """Samples (n_samples, ..., 3, 3) of the truth behind `mean`, the weighted mean of independent tensors `values`
    (n, ..., 3, 3) whose traces are mean squares.

    Each piece deviates from the mean by itself times a normal number (the wild bootstrap; Wu, Ann. Stat. 14, 1261,
    1986), widened by Student's factor for a small number of pieces; resampling a handful would add its own skewness. A
    trace scatters like chi^2 / k around 1 with variance 2 / k = r^2, so what it was scattered from is the trace over
    such a number, whose quantiles are (1 - r^2 / 9 - x / 3)^3 for a relative deviation x of the truth (Wilson and
    Hilferty, Proc. Natl. Acad. Sci. 17, 684, 1931). A symmetric interval claims too little above low estimates and too
    much above high ones.
    """
    share = weights / weights.sum()
    normal = np.random.default_rng(seed).normal(size=(n_samples, len(values)))
    deviations = np.tensordot(normal * share, values - mean, axes=1) * _small_number(len(values))
    x = np.trace(deviations, axis1=-2, axis2=-1) / np.trace(mean, axis1=-2, axis2=-1)
    factor = np.maximum(1 - x.var(axis=0) / 9 - x / 3, 0.1) ** -3
    x, factor = x[..., None, None], factor[..., None, None]
    return factor * (mean + deviations - x * mean)


def _small_number(n: int) -> float:
    """Widening of a bootstrap of n pieces: the missing n / (n - 1) of its variance, and Student's t for Gauss at 95
    %."""
    return float(np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / norm.ppf(0.975))
