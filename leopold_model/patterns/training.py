"""Fitting the networks: an ensemble from different random parameters, trained side by side on the same labels.

The energies that counts alone explain are taken out first (least squares on the number of each species) and given back
to the last biases; features are scaled to the range they have in the training labels, and that scale is folded into the
first layer, so that the stored networks take plain features and give eV.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.descriptor import Descriptor
from leopold_model.patterns.evaluation import errors
from leopold_model.patterns.fitting import fit
from leopold_model.patterns.labels import LabelSet
from leopold_model.patterns.network import Layers, PatternModel
from leopold_model.patterns.settings import PatternTrainConfig


def train(
    training: LabelSet,
    validation: LabelSet,
    config: PatternTrainConfig,
    *,
    checkpoint: str | Path | None = None,
    max_seconds: float | None = None,
) -> PatternModel:
    """The ensemble of the best validation error of each member. No label may be in both sets: see `splits`. A
    `checkpoint` of the same training is continued; after `max_seconds` it is left there and `OutOfTime` raised."""
    if not len(training) or not len(validation):
        raise PatternError(f"{len(training)} labels to train and {len(validation)} to validate: both need some")
    descriptor = Descriptor(training.instance.lattice, config.descriptor)
    reference, *_ = np.linalg.lstsq(training.counts(), training.energies, rcond=None)
    rest = training.energies - training.counts() @ reference
    unit = max(float(rest.std()), 1e-6)
    rows = _rows(descriptor, training)
    low = [_over(values, mask, np.min) for values, mask in rows]
    span = [_over(values, mask, np.max) - lo for (values, mask), lo in zip(rows, low, strict=True)]
    span = [np.where(s > 1e-9, s, 1.0) for s in span]
    scaled = [_scale(rows, low, span), _scale(_rows(descriptor, validation), low, span)]
    targets = [
        jnp.asarray((labels.energies - labels.counts() @ reference) / unit, jnp.float32)
        for labels in (training, validation)
    ]
    best, history = fit(scaled, targets, config, checkpoint=checkpoint, max_seconds=max_seconds)
    layers = [_unscaled(best[t], low[t], span[t], unit, reference[s - 1]) for t, (_, s) in enumerate(descriptor.types)]
    model = PatternModel(training.instance, descriptor, layers)
    found = {
        "settings": config.model_dump(),
        "epochs": len(history),
        "validation_history_meV_per_defect": _in_mev(history, unit, validation),
        "labels": {"train": len(training), "validation": len(validation)},
        "train": errors(model, training),
        "validation": errors(model, validation),
    }
    return PatternModel(model.instance, descriptor, layers, found)


def _rows(descriptor: Descriptor, labels: LabelSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per type, features (n, m, g, f) of the up to m defects of each label, and which of them exist (n, m)."""
    per_group = [descriptor.features(g.supercell, g.occupations) for g in labels.groups]
    made = []
    for t in range(len(descriptor.types)):
        counts = [np.bincount(f[t][0], minlength=len(g)) for f, g in zip(per_group, labels.groups, strict=True)]
        width = max(1, *(int(c.max(initial=0)) for c in counts))
        values, masks = [], []
        for features, count, group in zip(per_group, counts, labels.groups, strict=True):
            which, found = features[t]
            slot = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
            table = np.zeros((len(group), width, *found.shape[1:]), dtype=np.float32)
            mask = np.zeros((len(group), width), dtype=np.float32)
            table[which, slot], mask[which, slot] = found, 1.0
            values.append(table)
            masks.append(mask)
        made.append((np.concatenate(values), np.concatenate(masks)))
    return made


def _over(values: np.ndarray, mask: np.ndarray, extreme) -> np.ndarray:
    """(f,) smallest or largest of each feature over the defects that exist."""
    there = values[mask > 0].reshape(-1, values.shape[-1])
    return extreme(there, axis=0) if len(there) else np.zeros(values.shape[-1])


def _scale(rows, low, span):
    return [
        (jnp.asarray((values - lo) / s, jnp.float32), jnp.asarray(mask))
        for (values, mask), lo, s in zip(rows, low, span, strict=True)
    ]


def _unscaled(layers, low, span, unit: float, reference: float) -> Layers:
    """Layers that take plain features and give eV, the energy of the species itself included."""
    made = [(w.copy(), b.copy()) for w, b in layers]
    w, b = made[0]
    w = w / span[None, :, None]
    made[0] = (w, b - np.einsum("f,mfo->mo", low, w))
    w, b = made[-1]
    made[-1] = (w * unit, b * unit + reference)
    return made


def _in_mev(history, unit: float, validation: LabelSet) -> list[float]:
    """Mean over the members, per epoch."""
    return [round(1e3 * unit * float(h.mean()) / float(validation.n_defects.mean()), 4) for h in history]
