"""`leopold patterns lattice | charges | collect | train`: from a lattice over labels to a model."""

from __future__ import annotations

import json

import click
import numpy as np

from leopold_model.config import parse
from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice_file import load_lattice, shipped
from leopold_model.patterns.options import (
    COUNTS,
    JSON,
    MAX_SECONDS,
    PATH,
    SEED,
    SUPERCELL,
    composition_of,
    refuses,
    settings_of,
    stopped,
)


@click.command("lattice")
@click.argument("name", default="")
@JSON
@refuses
def lattice(name, as_json):
    """Sites, species and symmetry of the lattice NAME (shipped, or a YAML file); without NAME, those shipped.

    Example: leopold patterns lattice tio2_110
    """
    if not name:
        click.echo(json.dumps(shipped()) if as_json else "\n".join(shipped()))
        return
    instance = load_lattice(name)
    found = {
        "name": instance.lattice.name,
        "operations": len(instance.lattice.operations),
        "sites": instance.lattice.site_table,
        "species": {s.name: {"kind": s.kind, "charge": s.charge} for s in instance.lattice.species},
        "supercells": {k: v.model_dump() for k, v in instance.supercells.items()},
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['name']}: {found['operations']} symmetry operations")
    for row in found["sites"]:
        held = ", ".join(row["species"])
        click.echo(f"  {row['label']:6s} {row['host'] or 'empty':5s} {row['point_group']:6s} {held}  {row['position']}")
    for key, value in found["supercells"].items():
        click.echo(f"  {key}: " + ", ".join(f"{n} {s}" for s, n in value["counts"].items()))


@click.command("charges")
@click.argument("name")
@click.option("--supercell", "supercells", multiple=True, required=True, help="A name or repeats; may be repeated.")
@COUNTS
@click.option("--configurations", type=click.IntRange(min=1), default=600, show_default=True, help="Per supercell.")
@click.option("--permittivity", type=click.FloatRange(min=1.0), default=12.0, show_default=True)
@click.option("--screening", type=click.FloatRange(min=0.1), default=6.0, show_default=True, help="Angstrom.")
@SEED
@click.option("--output", "-o", type=PATH, default="labels.h5", show_default=True)
@refuses
def charges(name, supercells, counts, configurations, permittivity, screening, seed, output):
    """Labels of random configurations of the lattice NAME from screened point charges: a model to try things with, not
    a first-principles result.

    Example: leopold patterns charges tio2_110 --supercell 6x4 --supercell 12x2
    """
    from leopold_model.patterns.composition import random_configuration
    from leopold_model.patterns.labels import Labels, LabelSet, write_labels
    from leopold_model.patterns.point_charges import point_charge_energies

    instance = load_lattice(name)
    rng, groups = np.random.default_rng(seed), []
    for supercell in supercells:
        cell, composition = instance.supercell(supercell), composition_of(instance, supercell, counts)
        drawn = np.array([random_configuration(cell, composition, rng) for _ in range(configurations)])
        energies = point_charge_energies(cell, drawn, permittivity=permittivity, screening=screening)
        groups.append(Labels(cell, drawn, energies))
    write_labels(output, LabelSet(instance, tuple(groups)))
    sizes = ", ".join(supercells)
    click.echo(f"{output}: {configurations} configurations each of {instance.lattice.name} {sizes}, seed {seed}")


@click.command("collect")
@click.argument("frames", type=PATH)
@click.option("--lattice", "name", required=True, help="A shipped lattice or a YAML file.")
@SUPERCELL
@click.option("--output", "-o", type=PATH, default="labels.h5", show_default=True)
@JSON
@refuses
def collect(frames, name, supercell, output, as_json):
    """Labels from relaxed structures in FRAMES (see `leopold import-vasp`), for the carrier sites they ended with.

    Example: leopold patterns collect relaxed.h5 --lattice tio2_110 --supercell 6x4
    """
    from leopold_model.frames import FrameError, read_frames
    from leopold_model.patterns.labels import LabelSet, labels_from_frames, write_labels

    instance = load_lattice(name)
    try:
        structures = read_frames(frames)
    except (FrameError, OSError) as error:
        raise PatternError(f"{frames}: {error}") from None
    found, refused = labels_from_frames(instance.supercell(supercell), structures)
    if len(found):
        write_labels(output, LabelSet(instance, (found,)))
    if as_json:
        click.echo(json.dumps({"labels": len(found), "distinct": len(set(found.keys)), "refused": refused}))
        return
    for k, reason in refused.items():
        click.echo(f"frame {k}: {reason}", err=True)
    click.echo(f"{output}: {len(found)} labels of {len(set(found.keys))} configurations, {len(refused)} frames refused")


@click.command("train")
@click.argument("labels", type=PATH)
@click.option("--config", type=PATH, help="YAML of settings (see PatternTrainConfig); the defaults if not given.")
@click.option("--set", "settings", multiple=True, help="One setting, as epochs=100; may be repeated.")
@click.option("--curve", is_flag=True, help="Also errors when trained on an eighth, a quarter and half of the labels.")
@click.option("--output", "-o", type=PATH, default="patterns.npz", show_default=True)
@MAX_SECONDS
@JSON
@refuses
def train(labels, config, settings, curve, output, max_seconds, as_json):
    """Learn the energies of the configurations in LABELS; errors are on orbits (or defect patterns) never seen. A
    training that was stopped leaves a .checkpoint beside its output, from which the same command goes on.

    Example: leopold patterns train labels.h5
    """
    from leopold_model.patterns.fitting import OutOfTime
    from leopold_model.patterns.labels import read_labels
    from leopold_model.patterns.learning import CURVE, learn
    from leopold_model.patterns.settings import PatternTrainConfig

    data = settings_of(config, settings)
    try:
        model = learn(
            read_labels(labels),
            parse(data, PatternTrainConfig, where="settings"),
            curve=CURVE if curve else (),
            checkpoint=output.with_suffix(".checkpoint"),
            max_seconds=max_seconds,
        )
    except OutOfTime as reason:
        stopped(str(reason), as_json)
    model.save(output)
    if as_json:
        click.echo(json.dumps({"status": "finished"} | model.report))
        return
    pairs = model.report["pair_expansion"]["test"]
    click.echo(f"{output}: {model.report['labels']}, {model.report['epochs']} epochs")
    click.echo(f"{'':16s}  MAE   lowest tenth  rank correlation   (meV per defect)")
    for part in ("train", "validation", "test"):
        click.echo(_row(part, model.report[part]))
    click.echo(_row("pairs, test", pairs))
    for point in model.report.get("learning_curve", ()):
        click.echo(_row(f"{point['labels']} labels", point["network"]))


def _row(name: str, found: dict) -> str:
    return f"{name:14s}  {found['mae']:6.2f}  {found['window_mae']:10.2f}  {found['rank_correlation']:14.4f}"
