"""How far the members of an ensemble disagree, and how much of its error that tells.

Members are whole networks (a committee) or readout heads on one trunk. The spread of a quantity is the standard
deviation over them; for a force, of the vector, by component. Members agree too well, so spreads are multiplied by one
factor per quantity, fitted on the validation frames and kept in the model file (`calibration`): the quantile of
|error| / spread at the level of one Gaussian sigma. Unlike the maximum-likelihood factor (Levi et al., Sensors 22,
5540, 2022) it does not hang on the few smallest spreads.

How honest the result is: the fraction of errors inside each central Gaussian interval against its level, and the mean
distance of the two, the expected calibration error (Kuleshov, Fenner, Ermon, ICML 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, spearmanr

from leopold_model.frames import Frame

QUANTITIES = {"energy": "eV", "forces": "eV/Angstrom", "occupations": "e"}
LEVELS = np.linspace(0.05, 0.95, 19)
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def errors_and_spreads(frames: Sequence[Frame], answers: Sequence) -> Pairs:
    """Name -> (errors, spreads), one entry per frame, force component, or occupation; frames without labels left out.

    `answers` are `evaluate.Prediction`s of a model with several members.
    """
    found: dict[str, list] = {name: [] for name in QUANTITIES}
    for f, p in zip(frames, answers, strict=True):
        for name in QUANTITIES:
            label = getattr(f, name)
            if label is not None and np.isfinite(label).all():
                error = getattr(p, name) - label
                spread = np.broadcast_to(getattr(p.spread, name), np.shape(error))
                found[name].append((np.ravel(error), np.ravel(spread)))
    return {
        name: (np.concatenate([error for error, _ in rows]), np.concatenate([spread for _, spread in rows]))
        for name, rows in found.items()
        if rows
    }


def factors(pairs: Pairs) -> dict[str, float]:
    """Name -> what spreads are to be multiplied by."""
    sigma = norm.cdf(1) - norm.cdf(-1)
    # an occupation that never varied in training has neither error nor spread
    least = np.finfo(np.float32).tiny
    return {
        name: float(np.quantile(np.abs(error) / np.maximum(spread, least), sigma))
        for name, (error, spread) in pairs.items()
    }


def inside(error: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Fraction of errors inside the central interval of each of LEVELS, (19,)."""
    return np.array([np.mean(np.abs(error) < z * spread) for z in norm.ppf((1 + LEVELS) / 2)])


def report(pairs: Pairs) -> dict[str, dict]:
    """Name -> `spread` (rms, with `unit`), `expected_calibration_error`, `rank_correlation` of |error| with spread."""
    return {
        name: {
            "spread": float(np.sqrt(np.mean(spread**2))),
            "expected_calibration_error": float(np.mean(np.abs(inside(error, spread) - LEVELS))),
            "rank_correlation": float(spearmanr(np.abs(error), spread).statistic) if len(error) > 2 else None,
            "unit": QUANTITIES[name],
        }
        for name, (error, spread) in pairs.items()
    }
