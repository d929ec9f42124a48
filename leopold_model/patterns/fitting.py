"""The optimisation behind `training`: all members at once on scaled features, until none of them gets better.

A fit that stops between two epochs and is started again ends with the same parameters as one that never stopped: the
checkpoint holds parameters, optimiser, random numbers, and the best parameters of each member so far.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leopold_model.foreign import read_npz
from leopold_model.patterns import PatternError
from leopold_model.patterns.network import HIDDEN, SLOPE
from leopold_model.patterns.settings import PatternTrainConfig

SAVE_EVERY = 10.0  # seconds between checkpoints


class OutOfTime(Exception):
    """Training stopped behind an epoch because its time was up, and says behind which; the checkpoint is
    where it goes on."""


@dataclass
class _Fit:
    """A fit on its way: `history` (epochs, members) validation errors, `best` the parameters of each member's `lowest`
    (members,) error; `last_better` the epoch in which any member last got better."""

    params: Any
    states: Any
    best: Any
    lowest: np.ndarray
    rng: np.random.Generator
    history: list[np.ndarray] = field(default_factory=list)
    last_better: int = 0

    @property
    def _arrays(self) -> tuple:
        return self.params, self.states, self.best

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the checkpoint; the old file is replaced only by a whole new one."""
        header = {"of": fingerprint, "rng": self.rng.bit_generator.state, "last_better": self.last_better}
        leaves: dict[str, Any] = {f"leaf_{k}": leaf for k, leaf in enumerate(jax.tree.leaves(self._arrays))}
        new = path.with_name(path.name + ".new")
        with new.open("wb") as handle:
            np.savez(handle, header=np.array(json.dumps(header)), history=self.history, lowest=self.lowest, **leaves)
        os.replace(new, path)

    def resume(self, path: Path, fingerprint: str) -> None:
        """Take over the state in a checkpoint."""
        found = read_npz(path, PatternError, "delete it to start afresh")
        try:
            header = json.loads(str(found["header"]))
            if header["of"] != fingerprint:
                raise PatternError(f"{path} is of a training with other labels or settings: delete it to start afresh")
            leaves = [jnp.asarray(found[f"leaf_{k}"]) for k in range(len(jax.tree.leaves(self._arrays)))]
            self.params, self.states, self.best = jax.tree.unflatten(jax.tree.structure(self._arrays), leaves)
            self.history, self.lowest = list(found["history"]), found["lowest"]
            self.last_better = header["last_better"]
            self.rng.bit_generator.state = header["rng"]
        except PatternError:
            raise
        except Exception as error:  # json, jax and numpy raise their own
            raise PatternError(f"{path} is no checkpoint of a training ({error}): delete it to start afresh") from None


def fit(
    scaled,
    targets,
    config: PatternTrainConfig,
    *,
    checkpoint: str | Path | None = None,
    max_seconds: float | None = None,
):
    """Layers of the best epoch of each member (numpy, members first), and the validation errors (epochs, members).

    `scaled` are features and masks of the training and of the validation labels by type, `targets` their energies. A
    `checkpoint` is written every ten seconds and removed at the end; one of the same fit that is already there is
    continued. After `max_seconds` it is left behind, and `OutOfTime` raised.
    """
    began = saved = time.monotonic()
    path = None if checkpoint is None else Path(checkpoint)
    n, size = len(targets[0]), min(config.batch_size, len(targets[0]))
    steps = n // size
    recipe = _Recipe(config.optimiser, config.learning_rate, config.weight_decay, config.augment, config.epochs * steps)
    rng = np.random.default_rng(config.seed)
    params = _initial(rng, config.members, [features.shape[-1] for features, _ in scaled[0]])
    run = _Fit(params, jax.vmap(recipe.build().init)(params), params, np.full(config.members, np.inf), rng)
    fingerprint = _fingerprint(scaled, targets, config)
    if path is not None and path.exists():
        run.resume(path, fingerprint)
    while len(run.history) < config.epochs and len(run.history) - run.last_better <= config.patience:
        order = jnp.asarray(run.rng.permutation(n)[: steps * size].reshape(steps, size))
        run.params, run.states, error = _epoch(
            run.params, run.states, order, scaled[0], targets[0], scaled[1], targets[1], recipe=recipe
        )
        _note(run, np.asarray(error), config)
        out_of_time = max_seconds is not None and time.monotonic() - began > max_seconds
        if path is not None and (out_of_time or time.monotonic() - saved > SAVE_EVERY):
            run.save(path, fingerprint)
            saved = time.monotonic()
        if out_of_time and len(run.history) < config.epochs:
            raise OutOfTime(f"epoch {len(run.history)} of at most {config.epochs}")
    if path is not None:
        path.unlink(missing_ok=True)
    return jax.tree.map(lambda a: np.asarray(a, dtype=float), run.best), run.history


def _note(run: _Fit, error: np.ndarray, config: PatternTrainConfig) -> None:
    """Enter the validation errors (members,) of an epoch; keep the parameters of the members that got better."""
    epoch = len(run.history)
    if not np.isfinite(error).all():
        raise PatternError(
            f"training diverged in epoch {epoch + 1}: lower learning_rate = {config.learning_rate:g} by a factor of 3"
        )
    run.history.append(error)
    better = error < run.lowest
    if better.any():
        run.last_better = epoch
        run.lowest = np.where(better, error, run.lowest)
        run.best = jax.tree.map(partial(_chosen, better), run.params, run.best)


def _fingerprint(scaled, targets, config: PatternTrainConfig) -> str:
    """Hash of all that decides how a fit ends."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for array in jax.tree.leaves((scaled, targets)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _chosen(better: np.ndarray, new, old):
    """Of the members that got better, the new array."""
    return jnp.where(better.reshape(-1, *([1] * (new.ndim - 1))), new, old)


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
