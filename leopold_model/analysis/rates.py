"""Hop rates with exact Poisson intervals. Rates are per carrier and in 1/fs; 1/ps only where a name says so."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import chi2

from leopold_model.analysis import AnalysisError

PER_PS = 1e3  # 1/fs in 1/ps


@dataclass(frozen=True)
class Rate:
    """`count` events in `time` fs of carrier time, their `rate` and its central interval `low` to `high`, 1/fs.
    Without events the interval is one-sided: `high` is the upper limit (3.0 / time at 95 %)."""

    count: int
    time: float
    rate: float
    low: float
    high: float
    confidence: float

    def to_dict(self) -> dict:
        """JSON-ready, in 1/ps."""
        return {
            "count": self.count,
            "time_fs": self.time,
            "rate_per_ps": self.rate * PER_PS,
            "interval_per_ps": [self.low * PER_PS, self.high * PER_PS],
            "confidence": self.confidence,
        }


def garwood(count: int, time: float, confidence: float = 0.95) -> Rate:
    """Rate of a Poisson process that gave `count` events in `time` fs, with the exact interval of Garwood (Biometrika
    28, 437, 1936); for no event the one-sided limit -ln(1 - confidence) / time."""
    if count < 0 or not time > 0:
        raise AnalysisError(f"{count} events in {time} fs: a rate needs a count >= 0 and a positive time")
    tail = (1 - confidence) / 2 if count else 1 - confidence
    low = chi2.ppf(tail, 2 * count) / (2 * time) if count else 0.0
    high = chi2.ppf(1 - tail, 2 * count + 2) / (2 * time)
    return Rate(int(count), float(time), count / time, float(low), float(high), confidence)
