"""Errors of a model on labelled frames: `leopold evaluate MODEL FRAMES --json`.

The charge state given to the network is the frame's own (`carrier_sites`); the carrier site counts as right when the
atoms with the largest predicted moments are those sites. A label a frame lacks is left out of that error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import click
import jax
import jax.numpy as jnp
import numpy as np

from leopold_model import uncertainty
from leopold_model.charge import spin_moments
from leopold_model.checkpoint import Model, ModelError, load_model
from leopold_model.dataset import Bucket, DataError, buckets
from leopold_model.frames import Frame, FrameError, carrier_sites, read_frames
from leopold_model.loss import predict
from leopold_model.network import member, n_members

UNITS = {"energy": "eV", "energy_per_atom": "eV", "forces": "eV/Angstrom", "occupations": "e", "moments": "mu_B"}
PAIR_GRID = 512
PAIRS_AT_ONCE = 2**16  # of a batch of several frames, so that memory is bounded by the largest frame


@dataclass(frozen=True)
class Spread:
    """Standard deviations over the members, calibrated: `energy` eV, `forces` (n, 1) eV/Angstrom by component,
    `occupations` (n, 2)."""

    energy: float
    forces: np.ndarray
    occupations: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What the model says about one frame: `energy` eV (references included), `forces` (n, 3), `stress` (3, 3)
    eV/Angstrom^3, `occupations` (n, 2); `spread` None for a model with one member."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    occupations: np.ndarray
    spread: Spread | None = None

    @property
    def moments(self) -> np.ndarray:
        return spin_moments(self.occupations)


@partial(jax.jit, static_argnums=1)
def _predict(params, spec, batch: Bucket):
    out = predict(params, spec, batch)
    return out.energy, out.forces, out.virial, out.occupations


@partial(jax.jit, static_argnums=1)
def _spreads(params, spec, batch: Bucket):
    """Standard deviations over the members of energy (B,), forces (B, n, 1), occupations (B, n, 2)."""

    def of_member(k):
        head = k % spec.ensemble
        own, alone = member(params, spec, k // spec.ensemble)
        out = predict(own, alone, batch, jax.nn.one_hot(head, spec.ensemble, dtype=batch.energy.dtype))
        return out.member_energies[head], out.forces, out.member_occupations[head]

    # one after the other: their forces at once would need the memory of as many backward passes
    each = jax.lax.map(of_member, jnp.arange(n_members(spec)))
    energy, forces, occupations = (x.var(axis=0, ddof=1) for x in each)
    return jnp.sqrt(energy), jnp.sqrt(forces.mean(axis=2, keepdims=True)), jnp.sqrt(occupations)


def _batch(data: Bucket, rows) -> Bucket:
    """Some rows of a bucket, pair lists padded to a coarse grid: other sets of such frames share the compilation."""
    spare = -data.senders.shape[1] % PAIR_GRID

    def take(name, a):
        a = a[rows]
        on_pairs = name in ("vectors", "senders", "receivers", "edge_mask")
        return np.pad(a, [(0, 0), (0, spare)] + [(0, 0)] * (a.ndim - 2)) if on_pairs else a

    return Bucket(**{f.name: take(f.name, getattr(data, f.name)) for f in fields(data)})


def predictions(model: Model, frames: Sequence[Frame], batch_size: int = 8) -> list[Prediction]:
    """The model's answer for every frame, in the model's dtype; ModelError for a species or cell it cannot serve."""
    species = [model.species_index(f.numbers) for f in frames]
    for f in frames:
        model.must_serve(f.cell, f.pbc)
    groups = buckets(frames, species, model.references, model.cutoff, model.dtype, images=model.images)
    return predict_buckets(model, frames, groups, batch_size)


def predict_buckets(
    model: Model, frames: Sequence[Frame], groups, batch_size: int = 8, spreads: bool = True
) -> list[Prediction]:
    """As `predictions`, from buckets already made (training reuses its own); spreads cost a pass for each member."""
    answers: list[Prediction] = [None] * len(frames)  # type: ignore[list-item]
    several = spreads and n_members(model.spec) > 1
    for data, members in groups:
        data = jax.tree.map(np.asarray, data)
        together = max(1, min(batch_size, PAIRS_AT_ONCE // data.senders.shape[1]))
        for start in range(0, len(members), together):
            # the last batch repeats its first row, so that every batch has one shape
            rows = np.minimum(np.arange(start, start + together), len(members) - 1)
            batch = _batch(data, rows)
            energy, forces, virial, occupations = (np.asarray(x) for x in _predict(model.params, model.spec, batch))
            spreads_of = _calibrated(model, batch) if several else None
            for b, k in enumerate(members[start : start + together]):
                f = frames[k]
                reference = model.reference_energy(model.species_index(f.numbers))
                volume = abs(np.linalg.det(f.cell))
                answers[k] = Prediction(
                    float(energy[b]) + reference, forces[b, : len(f)], virial[b] / volume, occupations[b, : len(f)],
                    spreads_of(b, len(f)) if spreads_of else None,
                )  # fmt: skip
    return answers


def _calibrated(model: Model, batch: Bucket):
    """`spread(b, n)` of the first n atoms of frame b of a batch."""
    told = _spreads(model.params, model.spec, batch)
    factors = [model.calibration[name] for name in uncertainty.QUANTITIES]
    energy, forces, occupations = (np.asarray(x) * factor for x, factor in zip(told, factors, strict=True))
    return lambda b, n: Spread(float(energy[b]), forces[b, :n], occupations[b, :n])


def errors(frames: Sequence[Frame], answers: Sequence[Prediction]) -> dict:
    """The JSON object of `leopold evaluate`: for each quantity `rmse`, `max` and `unit`, and the carrier-site accuracy.

    A quantity no frame has a label for is null. A model of several members has `uncertainty` besides
    (see `uncertainty.report`), frames of hops add `hop_frames` and, by name, `pathways`, of the same kind.
    """
    pathways = sorted({f.pathway for f in frames} - {""})

    def of(chosen) -> dict:
        rows = [k for k, f in enumerate(frames) if chosen(f.pathway)]
        return _errors([frames[k] for k in rows], [answers[k] for k in rows])

    report = _errors(frames, answers)
    if pathways:
        report["hop_frames"] = of(bool)
        report["pathways"] = {name: of(lambda pathway, name=name: pathway == name) for name in pathways}
    return report


def _errors(frames: Sequence[Frame], answers: Sequence[Prediction]) -> dict:
    residuals: dict[str, list] = {name: [] for name in UNITS}
    sites = []
    for f, p in zip(frames, answers, strict=True):
        if np.isfinite(f.energy):
            residuals["energy"].append(p.energy - f.energy)
            residuals["energy_per_atom"].append((p.energy - f.energy) / len(f))
        if f.forces is not None:
            residuals["forces"].append((p.forces - f.forces).ravel())
        if f.occupations is not None:
            residuals["occupations"].append((p.occupations - f.occupations).ravel())
        if f.spin_moments is not None:
            residuals["moments"].append(p.moments - f.spin_moments)
        if f.carrier_sites:
            # where the label has the carrier, which near a crossing need not be where the network was told it is
            n, moments = len(f.carrier_sites), f.spin_moments
            true = f.carrier_sites if moments is None else carrier_sites(moments, n)
            sites.append(carrier_sites(p.moments, n) == true)
    report = {
        **{name: _summary(values, UNITS[name]) for name, values in residuals.items()},
        "carrier_site_accuracy": float(np.mean(sites)) if sites else None,
        "n_frames": len(frames),
    }
    if all(p.spread for p in answers):
        report["uncertainty"] = uncertainty.report(uncertainty.errors_and_spreads(frames, answers))
    return report


def _summary(values: list, unit: str) -> dict | None:
    if not values:
        return None
    flat = np.concatenate([np.atleast_1d(v) for v in values])
    return {"rmse": float(np.sqrt(np.mean(flat**2))), "max": float(np.abs(flat).max()), "unit": unit}


def evaluate_frames(model: Model, frames: Sequence[Frame]) -> tuple[dict, list[Prediction]]:
    """Errors and predictions; DataError for an empty set, frames without a charge state, or of another carrier."""
    if not frames:
        raise DataError("no frames to evaluate: the file is empty")
    for k, f in enumerate(frames):
        if len(f.carrier_sites) != model.n_carriers:
            raise DataError(
                f"frame {k} has carrier_sites {f.carrier_sites}, the model was trained with {model.n_carriers} "
                "carrier(s): the network must be told where each one sits"
            )
        if f.carrier != model.carrier:
            raise DataError(
                f"frame {k} holds an {f.carrier} carrier, the model was trained on {model.carrier} carriers"
            )
    answers = predictions(model, frames)
    return errors(frames, answers), answers


def save_predictions(path: str | Path, answers: Sequence[Prediction]) -> None:
    """Arrays end to end, `n_atoms` (F,) to cut them: energy, stress by frame; forces, occupations, moments by atom."""
    np.savez_compressed(
        path,
        n_atoms=np.array([len(p.forces) for p in answers]),
        energy=np.array([p.energy for p in answers]),
        stress=np.stack([p.stress for p in answers]),
        forces=np.concatenate([p.forces for p in answers]),
        occupations=np.concatenate([p.occupations for p in answers]),
        moments=np.concatenate([p.moments for p in answers]),
    )


@click.command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.argument("frames", type=click.Path(dir_okay=False))
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
@click.option(
    "--predictions", "output", type=click.Path(dir_okay=False), help="Write per-frame arrays to this .npz file."
)
def command(model, frames, dtype, device, as_json, output):
    """Errors of MODEL on the labelled FRAMES (.h5, .xyz).

    Example: leopold evaluate model.leopold frames.h5 --json
    """
    from leopold_model.selftest import UnsoundJax, require_sound_jax

    try:
        require_sound_jax(device)
        report, answers = evaluate_frames(load_model(model).astype(dtype), read_frames(frames))
    except (FrameError, ModelError, DataError, UnsoundJax) as error:
        raise click.ClickException(str(error)) from None
    if output:
        save_predictions(output, answers)
    if as_json:
        json.dump(report, sys.stdout)
        click.echo()
    else:
        click.echo(table(report))


def table(report: dict) -> str:
    """The report as text, in meV and mu_B."""
    lines = _lines("", report)
    for name, part in report.get("pathways", {}).items():
        lines += ["", *_lines(f"{name}: ", part)]
    return "\n".join(lines)


def _lines(what: str, report: dict) -> list[str]:
    lines = [f"{what}{report['n_frames']} frames", f"{'':18s}{'RMSE':>12s}{'max':>12s}"]
    for name, unit in UNITS.items():
        if report[name] is not None:
            factor, label = (1e3, "m" + unit) if unit.startswith("eV") else (1.0, unit)
            lines.append(
                f"{name:18s}{report[name]['rmse'] * factor:12.4g}{report[name]['max'] * factor:12.4g}  {label}"
            )
    if report["carrier_site_accuracy"] is not None:
        lines.append(f"carrier site right in {100 * report['carrier_site_accuracy']:.1f} % of frames")
    for name, told in report.get("uncertainty", {}).items():
        rank = told["rank_correlation"]
        lines.append(
            f"{name}: spread {told['spread']:.3g} {told['unit']}, expected calibration error "
            f"{told['expected_calibration_error']:.3f}, rank correlation with the error "
            f"{'not known' if rank is None else format(rank, '.2f')}"
        )
    return lines
