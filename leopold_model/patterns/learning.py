"""From labels to a model with a report: split, train, test on what was never looked at, compare with pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from leopold_model.patterns.cluster_expansion import fit_pairs
from leopold_model.patterns.evaluation import errors
from leopold_model.patterns.labels import LabelSet
from leopold_model.patterns.network import PatternModel
from leopold_model.patterns.settings import PatternTrainConfig
from leopold_model.patterns.splits import PARTS, split
from leopold_model.patterns.training import train

CURVE = (0.125, 0.25, 0.5)  # usual shares of the training labels


def learn(
    labels: LabelSet,
    config: PatternTrainConfig,
    *,
    curve: Sequence[float] = (),
    checkpoint: str | Path | None = None,
    max_seconds: float | None = None,
) -> PatternModel:
    """The model of the labels; its report has errors (see `evaluation.errors`) on all three parts, those of the pair
    cluster expansion, and, for the shares `curve` of the training labels and for all of them, both on the test part.
    `checkpoint` and `max_seconds` are of the training on all labels: see `training.train`."""
    labels = labels.deduplicated()
    masks = split(labels, config.split, validation=config.validation, test=config.test, seed=config.seed)
    training, validation, test = (labels.take(masks[name]) for name in PARTS)
    cutoff = pair_cutoff(labels)
    model = train(training, validation, config, checkpoint=checkpoint, max_seconds=max_seconds)
    pairs = fit_pairs(training, validation, cutoff)
    report = model.report | {
        "test": errors(model, test),
        "pair_expansion": {"cutoff_A": cutoff, "validation": errors(pairs, validation), "test": errors(pairs, test)},
    }
    report["labels"] = report["labels"] | {"test": len(test), "split": config.split}
    if curve:
        report["learning_curve"] = [_point(training, validation, test, config, share, cutoff) for share in curve]
        last = {"labels": len(training), "network": report["test"], "pairs": report["pair_expansion"]["test"]}
        report["learning_curve"].append(last)
    return replace(model, report=report)


def pair_cutoff(labels: LabelSet) -> float:
    """The longest cutoff (Angstrom) at which no defect pairs with its own image in any of the supercells."""
    shortest = np.inf
    for group in labels.groups:
        steps = [(-1, 0, 1) if p else (0,) for p in labels.instance.lattice.pbc]
        shifts = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 3)
        lengths = np.linalg.norm(shifts[shifts.any(axis=1)] @ group.supercell.vectors, axis=1)
        shortest = min(shortest, float(lengths.min()))
    return float(np.floor(10 * (shortest - 1e-6)) / 10)


def _point(training, validation, test, config, share, cutoff) -> dict:
    """Test errors with a share of the training labels."""
    chosen = np.zeros(len(training), dtype=bool)
    chosen[np.random.default_rng(config.seed).permutation(len(training))[: max(2, round(share * len(training)))]] = True
    part = training.take(chosen)
    network, pairs = train(part, validation, config), fit_pairs(part, validation, cutoff)
    return {"labels": len(part), "network": errors(network, test), "pairs": errors(pairs, test)}
