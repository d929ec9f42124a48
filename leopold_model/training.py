"""One training run in memory: optimiser, compiled epoch, moving average, checkpoint.

The data stay on the device; one epoch is one compiled scan over reshuffled batches (one scan per bucket of sizes).
Everything random comes from the seed and the number of the epoch, so a run that stops and starts again from its
checkpoint ends with the same arrays as one that never stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from flax import serialization, struct

from leopold_model import dataset, network, published
from leopold_model.checkpoint import Model, species_index
from leopold_model.config import LossWeights, NetworkConfig, TrainConfig
from leopold_model.crossings import other_charge_states
from leopold_model.dataset import Bucket, DataError
from leopold_model.evaluate import errors, predict_buckets
from leopold_model.frames import Frame, content_hash
from leopold_model.loss import loss
from leopold_model.network import n_members
from leopold_model.uncertainty import errors_and_spreads, factors

PUBLISHED_ONSET = 0.9  # of the cutoff: where the envelope of the published variant begins to fall
ADAM_SHARE = 0.2  # of Muon's learning rate, for what is not a matrix inside a layer


@struct.dataclass
class TrainState:
    """What a step changes: `params` (the trained part), `average` (its moving average), `optimiser` state, `step`."""

    params: dict
    average: dict
    optimiser: optax.OptState
    step: jax.Array


@cache  # one object per recipe: the compiled epoch is looked up by it
def make_optimiser(
    name: str,
    learning_rate: float,
    warmup_fraction: float,
    weight_decay: float,
    clip_norm: float,
    n_steps: int,
    committee: int = 1,
) -> optax.GradientTransformation:
    """Clipping, then AdamW or Muon under a linear warm-up and a cosine decay to a hundredth.

    Muon turns the matrices inside layers; embedding, biases and readouts follow Adam at `ADAM_SHARE` of the rate.
    Networks of a committee are each on their own.
    """

    def schedule(rate):
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if warmup_fraction else rate,
            peak_value=rate,
            warmup_steps=int(warmup_fraction * n_steps),
            decay_steps=n_steps,
            end_value=0.01 * rate,
        )

    if name == "muon":
        rule = optax.contrib.muon(
            schedule(learning_rate),
            weight_decay=weight_decay,
            adam_learning_rate=schedule(ADAM_SHARE * learning_rate),
            muon_weight_dimension_numbers=_matrices,
        )
    else:
        rule = optax.adamw(schedule(learning_rate), weight_decay=weight_decay)
    rule = optax.chain(optax.clip_by_global_norm(clip_norm), rule)
    return rule if committee == 1 else optax.GradientTransformation(jax.vmap(rule.init), jax.vmap(rule.update))


def _matrices(params):
    """For each array, the axes of the matrix Muon sees (leading axes are independent matrices), or None for Adam."""
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)

    def inside_a_layer(path, _):
        names = [getattr(key, "key", None) for key in path]
        return matrix if names[0] == "layers" and "bias0" not in names else None

    return jax.tree_util.tree_map_with_path(inside_a_layer, params)


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def run_batches(
    optimiser, spec, weights: LossWeights, ema_decay: float, state: TrainState, scales, data: Bucket, order
):
    """One pass: `order` (batches, B) rows of `data`, -1 where a batch is not full. Returns the state and mean terms."""

    def step(state: TrainState, rows):
        batch = jax.tree.map(lambda a: a[jnp.maximum(rows, 0)], data)
        batch = batch.replace(weight=batch.weight * (rows >= 0))

        def objective(params):
            return loss({**params, "scales": scales}, spec, weights, batch, state.step)

        (value, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        # the average forgets its start faster than its decay would
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step)).astype(batch.weight.dtype)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, params)
        return TrainState(params, average, optimiser_state, state.step + 1), {"loss": value / spec.committee, **terms}

    state, terms = jax.lax.scan(step, state, order)
    return state, jax.tree.map(jnp.mean, terms)


def fresh(config: NetworkConfig, seed: int, elements: tuple[int, ...], mean_neighbours: float, dtype):
    """Architecture and random parameters of the variant asked for."""
    options = config.model_dump(exclude={"variant"})
    if config.variant == "default":
        spec = network.Spec(elements, mean_neighbours=mean_neighbours, **options)
        return spec, network.init(seed, spec, dtype)
    shared = {f.name for f in fields(published.PublishedSpec)}
    onset = PUBLISHED_ONSET * config.cutoff
    chosen = {name: value for name, value in options.items() if name in shared}
    theirs = published.PublishedSpec(elements, onset=onset, **chosen)
    return theirs, published.init(seed, theirs, dtype, mean_neighbours)


class Training:
    """One training run: data, compiled epoch and state; `step_epoch` advances, `save`/`restore` are the checkpoint."""

    def __init__(self, config: TrainConfig, train: list[Frame], validation: list[Frame], initial: Model | None = None):
        lag, sharing = config.crossings.lag, config.crossings.sharing
        self.config = config
        self.train = [*train, *other_charge_states(train, lag, sharing)]
        self.validation = [*validation, *other_charge_states(validation, lag, sharing)]
        self.n_own = len(validation)
        surface = np.where(np.arange(len(self.train)) < len(train), 1.0, config.crossings.surface)
        dtype = jnp.dtype(config.dtype)
        # a model of one cell stays one
        self.inherited = {k: initial.header[k] for k in ("images", "cell") if k in initial.header} if initial else {}
        if initial is None:
            elements = dataset.elements_of(train)
            measured = dataset.scales(train, elements, config.network.cutoff)
            spec, params = fresh(config.network, config.seed, elements, measured.mean_neighbours, dtype)
            sizes = {
                "energy": measured.force_rms,
                "occupation_scale": measured.occupation_scale,
                "occupation_shift": measured.occupation_shift,
                "repulsion_onset": measured.repulsion_onset,
            }
            params["scales"] = {name: jnp.asarray(sizes[name], dtype) for name in params["scales"]}
            self.references = measured.references
        else:
            for name in sorted(config.network.model_fields_set):
                asked, there = getattr(config.network, name), getattr(initial.spec, name)
                if asked != there:
                    raise DataError(
                        f"network.{name} = {asked}, but {config.initial_model} has {there}: leave it out to train on "
                        "from that model, or leave initial_model out to start afresh"
                    )
            # scales and references are part of what the weights mean; only the repulsion makes room for new data
            spec, params, self.references = initial.spec, dict(initial.astype(dtype).params), initial.references
            if "repulsion_onset" in params["scales"]:
                old = params["scales"]["repulsion_onset"]
                onset = dataset.scales(train, spec.elements, spec.cutoff).repulsion_onset
                params["scales"] = params["scales"] | {"repulsion_onset": jnp.minimum(old, jnp.asarray(onset, dtype))}
        self.spec, self.scales = spec, params.pop("scales")
        self.train_data = self._buckets(self.train, config.loss.hop_frames, surface)
        self.validation_data = self._buckets(self.validation)
        self.n_batches = sum(-(-len(rows) // config.batch_size) for _, rows in self.train_data)
        self.optimiser = make_optimiser(
            config.optimiser, config.learning_rate, config.warmup_fraction, config.weight_decay, config.clip_norm,
            self.n_batches * config.epochs, spec.committee,
        )  # fmt: skip
        self.state = TrainState(
            params, jax.tree.map(jnp.copy, params), self.optimiser.init(params), jnp.zeros((), jnp.int32)
        )
        self.epoch = 0
        self.history: list[dict] = []
        self.best, self.best_loss, self.best_epoch = jax.tree.map(jnp.copy, params), float("inf"), 0

    def _buckets(self, frames, hop_weight=1.0, surface=None):
        species = [species_index(self.spec.elements, f.numbers) for f in frames]
        return dataset.buckets(
            frames, species, self.references, self.spec.cutoff, self.config.dtype, hop_weight, surface,
            self.inherited.get("images", "all"),
        )  # fmt: skip

    def step_epoch(self) -> dict:
        """One epoch; returns the means of the loss and its terms."""
        rng = np.random.default_rng([self.config.seed, self.epoch])
        B = self.config.batch_size
        sums: dict[str, float] = {}
        for k in rng.permutation(len(self.train_data)):
            data, rows = self.train_data[k]
            batches = -(-len(rows) // B)
            order = np.full(batches * B, -1, dtype=np.int32)
            order[: len(rows)] = rng.permutation(len(rows))
            self.state, terms = run_batches(
                self.optimiser, self.spec, self.config.loss, self.config.ema_decay,
                self.state, self.scales, data, order.reshape(batches, B),
            )  # fmt: skip
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * batches / self.n_batches
        self.epoch += 1
        return sums

    def validate(self) -> dict:
        """Errors of the averaged parameters on the validation frames; the best ones so far are kept."""
        model = self.model(self.state.average)
        report = errors(self.validation, predict_buckets(model, self.validation, self.validation_data, spreads=False))
        w = self.config.loss
        score = (
            w.energy * report["energy_per_atom"]["rmse"] ** 2
            + w.forces * report["forces"]["rmse"] ** 2
            + w.occupations * report["occupations"]["rmse"] ** 2
            + w.moments * report["moments"]["rmse"] ** 2
        )
        if score < self.best_loss:
            self.best, self.best_loss, self.best_epoch = jax.tree.map(jnp.copy, model.params), score, self.epoch
            self.best.pop("scales")
        return report

    def model(self, params: dict, header: dict | None = None) -> Model:
        return Model(self.spec, {**params, "scales": self.scales}, self.references, header or {})

    def final(self, header: dict) -> Model:
        """The best model, its reference energies fitted once more to what it leaves of the training energies, the
        spread of its members calibrated on the validation frames.

        A constant offset costs the loss next to nothing, so training leaves one of a few meV per atom; here it goes.
        """
        model = self.model(self.best, header)
        answers = predict_buckets(model, self.train, self.train_data, spreads=False)
        left = np.array([f.energy - p.energy for f, p in zip(self.train, answers, strict=True)])
        shift = dataset.fit_references(self.train, left, self.spec.elements)
        model = replace(model, references=model.references + shift)
        if n_members(self.spec) == 1:
            return model
        answers = predict_buckets(model, self.validation, self.validation_data)
        # frames told another charge state than theirs would count what they were never meant to agree on
        calibration = factors(errors_and_spreads(self.validation[: self.n_own], answers[: self.n_own]))
        return replace(model, header={**header, "calibration": calibration})

    # the checkpoint: everything that changes, and a fingerprint of everything that must not

    def _content(self) -> dict:
        return {
            "state": self.state, "best": self.best, "best_loss": self.best_loss, "best_epoch": self.best_epoch,
            "epoch": self.epoch, "history": json.dumps(self.history), "fingerprint": self.fingerprint,
        }  # fmt: skip

    @property
    def fingerprint(self) -> str:
        beside = {"max_wall_seconds", "checkpoint_every", "output", "test", "device"}
        settings = self.config.model_dump_json(exclude=beside)
        data = content_hash(self.train) + content_hash(self.validation)
        return hashlib.sha256((settings + data).encode()).hexdigest()

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        part.write_bytes(serialization.to_bytes(self._content()))
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint; DataError when it was written for other settings or data, or is damaged."""
        try:
            content = serialization.msgpack_restore(path.read_bytes())
            fingerprint = content["fingerprint"]
        except Exception as error:  # msgpack raises its own zoo on damaged bytes
            raise DataError(f"{path} is not a readable checkpoint ({error}): delete it to start afresh") from None
        if fingerprint != self.fingerprint:
            raise DataError(f"{path} was written for other settings or frames: delete it to start afresh")
        try:
            content = serialization.from_state_dict(self._content(), content)
            self.state, self.best = jax.tree.map(jnp.asarray, (content["state"], content["best"]))
            self.best_loss, self.best_epoch = float(content["best_loss"]), int(content["best_epoch"])
            self.epoch, self.history = int(content["epoch"]), json.loads(content["history"])
        except Exception as error:  # flax and jax raise a dozen kinds on what does not fit
            raise DataError(f"{path} is not a whole checkpoint ({error}): delete it to start afresh") from None
