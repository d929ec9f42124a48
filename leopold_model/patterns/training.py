"""Fitting the networks: an ensemble from different random parameters, trained side by side on the same labels.

The energies that counts alone explain are taken out first (least squares on the number of each species) and given back
to the last biases; features are scaled to the range they have in the training labels, and that scale is folded into the
first layer, so that the stored networks take plain features and give eV.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leopold_model.patterns import PatternError
from leopold_model.patterns.descriptor import Descriptor
from leopold_model.patterns.evaluation import errors
from leopold_model.patterns.labels import LabelSet
from leopold_model.patterns.network import HIDDEN, SLOPE, Layers, PatternModel
from leopold_model.patterns.settings import PatternTrainConfig


def train(
    training: LabelSet, validation: LabelSet, config: PatternTrainConfig, report: dict | None = None
) -> PatternModel:
    """The ensemble of the best validation error of each member. No label may be in both sets: see `splits`."""
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
    best, history = _fit(scaled, targets, config)
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
    return PatternModel(model.instance, descriptor, layers, found | (report or {}))


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


def _initial(rng: np.random.Generator, members: int, n_features: list[int]):
    """Random layers of every member, by He et al. (2015)."""
    return [
        [
            (
                jnp.asarray(rng.normal(size=(members, i, o)) * np.sqrt(2 / i), jnp.float32),
                jnp.zeros((members, o), jnp.float32),
            )
            for i, o in pairwise((n, *HIDDEN, 1))
        ]
        for n in n_features
    ]


def _images(layers, features):
    """(n, m, g) output of every image."""
    h = features
    for w, b in layers[:-1]:
        h = h @ w + b
        h = jnp.where(h > 0, h, SLOPE * h)
    w, b = layers[-1]
    return (h @ w + b)[..., 0]


def _energy(params, rows, *, augment: bool):
    """(n,) scaled energies, or (n, g) of every image by itself."""
    n_images = math.lcm(*(features.shape[2] for features, _ in rows))
    total: Any = 0.0
    for layers, (features, mask) in zip(params, rows, strict=True):
        images = _images(layers, features) * mask[..., None]
        if augment:  # sites of lower symmetry have fewer images: each counts for several
            total = total + jnp.tile(images.sum(axis=1), n_images // images.shape[2])
        else:
            total = total + images.mean(axis=2).sum(axis=1)
    return total


class _Recipe(NamedTuple):
    """What the compiled epoch is looked up by."""

    optimiser: str
    learning_rate: float
    weight_decay: float
    augment: bool
    n_steps: int

    def build(self) -> optax.GradientTransformation:
        """The optimiser, its rate falling to a hundredth on a cosine."""
        schedule = optax.cosine_decay_schedule(self.learning_rate, self.n_steps, 0.01)
        if self.optimiser == "adam":
            return optax.adamw(schedule, weight_decay=self.weight_decay)
        return optax.chain(optax.add_decayed_weights(self.weight_decay), optax.sgd(schedule, momentum=0.9))


@partial(jax.jit, static_argnames="recipe")
def _epoch(params, states, order, rows, target, validation, target_validation, *, recipe: _Recipe):
    """One pass of all members over the batches `order` (steps, batch size); their validation errors after it."""
    optimiser = recipe.build()

    def loss(member, batch, wanted):
        found = _energy(member, batch, augment=recipe.augment)
        return jnp.mean((found - (wanted[:, None] if recipe.augment else wanted)) ** 2)

    def step(carry, index):
        member, state = carry
        gradient = jax.grad(loss)(member, jax.tree.map(lambda a: a[index], rows), target[index])
        updates, state = optimiser.update(gradient, state, member)
        return (optax.apply_updates(member, updates), state), None

    params, states = jax.vmap(lambda p, s: jax.lax.scan(step, (p, s), order)[0])(params, states)
    found = jax.vmap(lambda p: _energy(p, validation, augment=False))(params)
    return params, states, jnp.sqrt(jnp.mean((found - target_validation) ** 2, axis=1))


def _fit(scaled, targets, config: PatternTrainConfig):
    """Layers of the best epoch of each member (numpy, members first), and the validation errors (epochs, members)."""
    n, size = len(targets[0]), min(config.batch_size, len(targets[0]))
    steps = n // size
    recipe = _Recipe(config.optimiser, config.learning_rate, config.weight_decay, config.augment, config.epochs * steps)
    rng = np.random.default_rng(config.seed)
    params = _initial(rng, config.members, [features.shape[-1] for features, _ in scaled[0]])
    states = jax.vmap(recipe.build().init)(params)
    best, lowest = params, np.full(config.members, np.inf)
    history: list[np.ndarray] = []
    last_better = 0
    for k in range(config.epochs):
        order = jnp.asarray(rng.permutation(n)[: steps * size].reshape(steps, size))
        params, states, error = _epoch(
            params, states, order, scaled[0], targets[0], scaled[1], targets[1], recipe=recipe
        )
        error = np.asarray(error)
        if not np.isfinite(error).all():
            raise PatternError(
                f"training diverged in epoch {k + 1}: lower learning_rate = {config.learning_rate:g} by a factor of 3"
            )
        history.append(error)
        better = error < lowest
        if better.any():
            last_better = k
            lowest = np.where(better, error, lowest)
            best = jax.tree.map(partial(_chosen, better), params, best)
        if k - last_better >= config.patience:
            break
    return jax.tree.map(lambda a: np.asarray(a, dtype=float), best), history


def _chosen(better: np.ndarray, new, old):
    """Of the members that got better, the new array."""
    return jnp.where(better.reshape(-1, *([1] * (new.ndim - 1))), new, old)


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
