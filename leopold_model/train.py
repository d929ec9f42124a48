"""`leopold train CONFIG`: frames in, model out.

Files, beside the configuration: the model, `result.json`, `log.csv`, `learning_curve.png`, `parity.png`,
`calibration.png` for an ensemble, and `checkpoint.msgpack` while unfinished. Exit codes: 0 finished, 10 out
of walltime with a checkpoint (run again to resume), 11 diverged (the model file holds the best state before).
"""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path

import click
import jax
import numpy as np

from leopold_model import __version__, dataset
from leopold_model.checkpoint import ModelError, load_model, save_model, species_index
from leopold_model.config import ConfigError, TrainConfig, load
from leopold_model.crossings import other_charge_states
from leopold_model.dataset import DataError
from leopold_model.evaluate import evaluate_frames, table
from leopold_model.frames import UNITS, Frame, FrameError, content_hash, read_frames
from leopold_model.network import n_members
from leopold_model.progress import Progress, write_log
from leopold_model.selftest import UnsoundJax, require_sound_jax
from leopold_model.training import Training
from leopold_model.training_plots import plot_calibration, plot_learning_curve, plot_parity
from leopold_model.uncertainty import errors_and_spreads

EXIT = {"finished": 0, "out_of_walltime": 10, "diverged": 11}
DIVERGED = 100.0  # an epoch's loss above this multiple of the lowest one
RESERVE = 1.2  # share of an epoch's time that must be left to start another


def run(config: TrainConfig, folder: Path, started: float | None = None) -> dict:
    """Train in `folder` and return what `result.json` holds; resumes from `checkpoint.msgpack` if one is there."""
    started = time.monotonic() if started is None else started
    sets, counts = read_sets(config, folder)
    train, validation = sets["train"], sets["validation"]
    initial = load_model(folder / config.initial_model) if config.initial_model else None
    if initial is not None:
        initial.must_fit([*train, *validation, *sets["test"]], f"initial_model = {config.initial_model!r}")
    training = Training(config, train, validation, initial)
    for frame in sets["test"]:
        species_index(training.spec.elements, frame.numbers)
    checkpoint = folder / "checkpoint.msgpack"
    if checkpoint.exists():
        training.restore(checkpoint)

    status = _train(training, config, checkpoint, started)
    about = header(config, train, training)
    # out of time is out of time: the last fit to the training set waits for the end
    best = training.model(training.best, about) if status == "out_of_walltime" else training.final(about)
    save_model(folder / config.output, best)
    # does the carrier go over where it should, when the network is told its old site?
    sets["hand_over"] = other_charge_states(sets["test"] or validation, config.crossings.lag, config.crossings.sharing)
    reports, answers = {}, {}
    for name, members in sets.items():
        if members and status != "out_of_walltime":
            reports[name], answers[name] = evaluate_frames(best, members)
    result = {
        "status": status,
        "epochs": training.epoch,
        "best_epoch": training.best_epoch,
        "errors": reports,
        "data": counts | {name: len(sets[name]) for name in ("train", "validation", "test")},
        "model": config.output,
        "wall_time_s": round(time.monotonic() - started, 2),
        "seed": config.seed,
        "versions": best.header["versions"],
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1))
    write_log(folder / "log.csv", training.history)
    if status != "out_of_walltime":
        checkpoint.unlink(missing_ok=True)
    if training.history:
        plot_learning_curve(folder / "learning_curve.png", training.history)
    if answers:
        plot_parity(folder / "parity.png", {name: (sets[name], answers[name]) for name in answers})
        if n_members(best.spec) > 1:
            unseen = [name for name in ("validation", "test") if name in answers]
            plot_calibration(
                folder / "calibration.png", {name: errors_and_spreads(sets[name], answers[name]) for name in unseen}
            )
    return result


def read_sets(config: TrainConfig, folder: Path) -> tuple[dict[str, list[Frame]], dict]:
    """Checked frames of `train`, `validation` and `test` (empty if not asked for), and what the first left out."""
    frames, counts = dataset.usable(read_frames(folder / config.frames), config.frames)
    if config.validation:
        train = frames
        validation, _ = dataset.usable(read_frames(folder / config.validation), config.validation)
    else:
        train, validation = dataset.split_by_run(frames, config.validation_fraction)
    # a missing or unfit test set should be known before the training, not after
    test = dataset.usable(read_frames(folder / config.test), config.test)[0] if config.test else []
    dataset.same_kind([*train, *validation, *test], "the training, validation and test frames together")
    return {"train": train, "validation": validation, "test": test}, counts


def _train(training: Training, config: TrainConfig, checkpoint: Path, started: float) -> str:
    """Epochs until the end, the walltime, SIGTERM, patience or divergence; returns the status."""
    every = max(1, config.epochs // 25)  # validation costs a few percent at this rate
    lowest, longest, last_saved = math.inf, 0.0, training.epoch
    with _Terminated() as terminated, Progress(config.epochs, training.epoch) as progress:
        while training.epoch < config.epochs:
            begun = time.monotonic()
            left = math.inf if config.max_wall_seconds is None else config.max_wall_seconds - (begun - started)
            if terminated or left < RESERVE * longest:
                training.save(checkpoint)
                return "out_of_walltime"
            terms = training.step_epoch()
            lowest = min(lowest, terms["loss"])
            if not terms["loss"] <= DIVERGED * lowest:  # catches NaN as well
                training.history.append({"epoch": training.epoch, **terms})
                return "diverged"
            row = {"epoch": training.epoch, "seconds": round(time.monotonic() - started, 3), **terms}
            if training.epoch % every == 0 or training.epoch == config.epochs:
                row |= flat(training.validate())
            training.history.append(row)
            progress.update(row)
            # the first epoch of a process compiles; the longest one after it sets the reserve
            longest = max(longest, time.monotonic() - begun) if longest else 1e-9
            if training.epoch - last_saved >= config.checkpoint_every:
                training.save(checkpoint)
                last_saved = training.epoch
            if config.patience and training.epoch - training.best_epoch > config.patience:
                break
    return "finished"


def flat(report: dict) -> dict:
    """The validation columns of the log, in eV, eV/Angstrom, e, mu_B."""
    names = ("energy_per_atom", "forces", "occupations", "moments")
    return {f"validation_{n}": report[n]["rmse"] for n in names} | {
        "validation_carrier_site": report["carrier_site_accuracy"]
    }


def header(config: TrainConfig, train: list[Frame], training: Training) -> dict:
    """What the model file says about its making, beside architecture and arrays."""
    temperatures = [f.temperature for f in train if np.isfinite(f.temperature)]
    pathways: dict[str, int] = {}
    for f in train:
        if f.pathway:
            pathways[f.pathway] = pathways.get(f.pathway, 0) + 1
    return {
        "carrier": train[0].carrier,
        "n_carriers": len(train[0].carrier_sites),
        "total_moment": float(np.mean([m.sum() for f in train if (m := f.spin_moments) is not None])),
        "units": UNITS,
        "dataset": content_hash(train),
        "n_frames": len(train),
        "settings": next((f.settings for f in train if f.settings), ""),
        "temperatures": [min(temperatures), max(temperatures)] if temperatures else [],
        "pathways": pathways,
        **training.inherited,
        "training": json.loads(config.model_dump_json()) | {"best_epoch": training.best_epoch},
        "versions": {"leopold": __version__, "jax": jax.__version__, "numpy": np.__version__},
    }


class _Terminated:
    """True once SIGTERM has arrived, as schedulers send it before the end; the old handler comes back on exit."""

    def __init__(self):
        self.flag = False

    def __enter__(self):
        try:
            self.old = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "flag", True))
        except ValueError:  # not the main thread: nobody can send us one
            self.old = None
        return self

    def __exit__(self, *_):
        if self.old is not None:
            signal.signal(signal.SIGTERM, self.old)

    def __bool__(self):
        return self.flag


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def command(config, as_json):
    """Train a model as CONFIG (YAML) says; started again after exit code 10 it resumes.

    Example: leopold train train.yaml
    """
    started = time.monotonic()
    try:
        options = load(config, "train")
        require_sound_jax(options.device)
        result = run(options, Path(config).resolve().parent, started)
    except (ConfigError, FrameError, DataError, ModelError, UnsoundJax) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(result))
    else:
        for name, report in result["errors"].items():
            click.echo(f"\n{name}: {table(report)}")
        click.echo(f"\n{result['status']} after {result['epochs']} epochs, {result['wall_time_s']:.0f} s")
    raise SystemExit(EXIT[result["status"]])
