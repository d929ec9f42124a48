"""`leopold patterns`: where polarons and defects sit, from labelled configurations to correlation functions."""

from __future__ import annotations

import json
import time
from functools import wraps
from pathlib import Path
from typing import Any

import click
import numpy as np

from leopold_model.config import ConfigError, parse
from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice_file import Instance, load_lattice, shipped

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
SUPERCELL = click.option("--supercell", required=True, help="A name in the lattice file, or repeats: 24x16.")
SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


def refuses(function):
    """Bad input ends a verb with its message, not with a traceback."""

    @wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (PatternError, ConfigError) as error:
            raise SystemExit(f"leopold patterns: {error}") from None

    return run


@click.group("patterns", context_settings={"help_option_names": ["-h", "--help"]})
def command():
    """Learn where polarons, vacancies and dopants sit, and anneal large areas."""


@command.command("lattice")
@click.argument("name", default="")
@JSON
@refuses
def lattice(name, as_json):
    """Sites, species and symmetry of the lattice NAME (shipped, or a YAML file); without NAME, those shipped."""
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


@command.command("charges")
@click.argument("name")
@click.option("--supercell", "supercells", multiple=True, required=True, help="A name or repeats; may be repeated.")
@click.option("--counts", help="As VO=4,polaron=8; those of the lattice file for a named supercell.")
@click.option("--configurations", type=click.IntRange(min=1), default=600, show_default=True, help="Per supercell.")
@click.option("--permittivity", type=click.FloatRange(min=1.0), default=12.0, show_default=True)
@click.option("--screening", type=click.FloatRange(min=0.1), default=6.0, show_default=True, help="Angstrom.")
@SEED
@click.option("--output", "-o", type=PATH, default="labels.h5", show_default=True)
@refuses
def charges(name, supercells, counts, configurations, permittivity, screening, seed, output):
    """Labels of random configurations of the lattice NAME from screened point charges: a model to try things with, not
    a first-principles result."""
    from leopold_model.patterns.composition import random_configuration
    from leopold_model.patterns.labels import Labels, LabelSet, write_labels
    from leopold_model.patterns.point_charges import point_charge_energies

    instance = load_lattice(name)
    rng, groups = np.random.default_rng(seed), []
    for supercell in supercells:
        cell, composition = instance.supercell(supercell), _composition(instance, supercell, counts)
        drawn = np.array([random_configuration(cell, composition, rng) for _ in range(configurations)])
        energies = point_charge_energies(cell, drawn, permittivity=permittivity, screening=screening)
        groups.append(Labels(cell, drawn, energies))
    write_labels(output, LabelSet(instance, tuple(groups)))
    sizes = ", ".join(supercells)
    click.echo(f"{output}: {configurations} configurations each of {instance.lattice.name} {sizes}, seed {seed}")


@command.command("collect")
@click.argument("frames", type=PATH)
@click.option("--lattice", "name", required=True, help="A shipped lattice or a YAML file.")
@SUPERCELL
@click.option("--output", "-o", type=PATH, default="labels.h5", show_default=True)
@JSON
@refuses
def collect(frames, name, supercell, output, as_json):
    """Labels from relaxed structures in FRAMES (see `leopold import-vasp`), for the carrier sites they ended with."""
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


@command.command("train")
@click.argument("labels", type=PATH)
@click.option("--config", type=PATH, help="YAML of settings (see PatternTrainConfig); the defaults if not given.")
@click.option("--set", "settings", multiple=True, help="One setting, as epochs=100; may be repeated.")
@click.option("--curve", is_flag=True, help="Also errors when trained on an eighth, a quarter and half of the labels.")
@click.option("--output", "-o", type=PATH, default="patterns.npz", show_default=True)
@JSON
@refuses
def train(labels, config, settings, curve, output, as_json):
    """Learn the energies of the configurations in LABELS; errors are on orbits (or defect patterns) never seen."""
    from leopold_model.patterns.labels import read_labels
    from leopold_model.patterns.learning import CURVE, learn
    from leopold_model.patterns.settings import PatternTrainConfig

    data = _settings(config, settings)
    model = learn(read_labels(labels), parse(data, PatternTrainConfig, where="settings"), curve=CURVE if curve else ())
    model.save(output)
    if as_json:
        click.echo(json.dumps(model.report))
        return
    pairs = model.report["pair_expansion"]["test"]
    click.echo(f"{output}: {model.report['labels']}, {model.report['epochs']} epochs")
    click.echo(f"{'':16s}  MAE   lowest tenth  rank correlation   (meV per defect)")
    for part in ("train", "validation", "test"):
        click.echo(_row(part, model.report[part]))
    click.echo(_row("pairs, test", pairs))
    for point in model.report.get("learning_curve", ()):
        click.echo(_row(f"{point['labels']} labels", point["network"]))


@command.command("anneal")
@click.argument("model", type=PATH)
@SUPERCELL
@click.option("--counts", help="As VO=4,polaron=8; those of the lattice file for a named supercell.")
@click.option("--delocalised", type=click.IntRange(min=0), default=0, help="Carriers spread over the host.")
@click.option("--temperature", type=float, default=1000.0, show_default=True, help="K, of the last block.")
@click.option("--start-temperature", type=float, help="K, of the first block; cooled geometrically from it.")
@click.option("--ladder", help="Parallel tempering: temperatures in K, as 600,800,1100.")
@click.option("--moves", type=int, default=100_000, show_default=True, help="Trial moves per chain.")
@click.option("--blocks", type=int, default=50, show_default=True, help="Equal parts, with a record after each.")
@click.option("--chains", type=int, default=4, show_default=True)
@click.option("--members", type=click.IntRange(min=1), help="Networks of the ensemble that decide; all if not given.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Threads.")
@click.option(
    "--explore",
    type=click.Choice(["all", "layers", "carriers", "defects"]),
    default="all",
    show_default=True,
    help="all defects move; carriers keep to their label; only carriers move; all but carriers.",
)
@click.option("--reach", multiple=True, help="How far a species moves at once, as VO=1,0,0: in its row only.")
@click.option("--coupled", type=float, default=0.0, show_default=True, help="Share of moves of two at once.")
@SEED
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop behind a block, to continue.")
@click.option("--output", "-o", type=PATH, default="anneal.h5", show_default=True, help="Continued if it is there.")
@JSON
@refuses
def anneal_command(
    model,
    supercell,
    counts,
    delocalised,
    ladder,
    members,
    workers,
    explore,
    reach,
    coupled,
    max_seconds,
    output,
    as_json,
    **settings,
):
    """Anneal a supercell of MODEL's lattice: Metropolis sampling in kelvin, many chains, restartable.

    Example: leopold patterns anneal patterns.npz --supercell 24x16 --start-temperature 3000 --temperature 1000
    """
    from leopold_model.patterns.annealing import AnnealConfig, anneal
    from leopold_model.patterns.network import load_pattern_model
    from leopold_model.patterns.sampling import Sampler

    learned = load_pattern_model(model)
    learned = learned.first(members or learned.n_members)
    temperatures = {"ladder": [_number(t, "--ladder") for t in ladder.split(",")]} if ladder else {}
    config = parse(settings | temperatures, AnnealConfig, where="settings")
    far = {name: _triple(name, value) for name, value in (_pair(text, "--reach") for text in reach)}
    sampler = Sampler(learned, learned.instance.supercell(supercell), explore, far, coupled)
    composition = _composition(learned.instance, supercell, counts, delocalised)
    run = anneal(
        sampler, composition, config, checkpoint=output, workers=workers, progress=_Told(), max_seconds=max_seconds
    )
    found = run.summary()
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{output}: {found['chains']} chains of {found['moves']} moves, seed {config.seed}")
    click.echo(f"accepted {np.mean(found['acceptance']):.1%}, lowest energy {found['lowest_energy_eV']:.4f} eV")
    click.echo("lowest of each chain (eV): " + ", ".join(f"{e:.4f}" for e in found["lowest_energies_eV"]))


@command.command("suggest")
@click.argument("model", type=PATH)
@SUPERCELL
@click.option("--counts", help="As VO=4,polaron=8; those of the lattice file for a named supercell.")
@click.option("--number", "-n", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many.")
@click.option("--known", type=PATH, help="JSON list of the canonical keys of what was labelled or tried.")
@click.option("--boldness", type=float, default=1.0, show_default=True, help="What a unit of disagreement is worth.")
@click.option("--temperature", type=float, default=600.0, show_default=True, help="K, of the last block.")
@click.option("--start-temperature", type=float, help="K, of the first block.")
@click.option("--moves", type=int, default=10_000, show_default=True, help="Trial moves per chain.")
@click.option("--blocks", type=int, default=10, show_default=True, help="Candidates are taken after each.")
@click.option("--chains", type=int, default=10, show_default=True)
@click.option("--explore", type=click.Choice(["all", "layers", "carriers"]), default="all", show_default=True)
@SEED
@JSON
@refuses
def suggest_command(model, supercell, counts, number, known, boldness, explore, as_json, **settings):
    """Which configurations to label next: low in predicted energy, disputed by the ensemble, and new."""
    from leopold_model.patterns.network import load_pattern_model
    from leopold_model.patterns.sampling import Sampler
    from leopold_model.patterns.settings import AnnealConfig
    from leopold_model.patterns.suggestion import suggest

    learned = load_pattern_model(model)
    cell = learned.instance.supercell(supercell)
    try:
        keys = json.loads(known.read_text()) if known else []
    except (OSError, ValueError) as error:
        raise PatternError(f"--known {known}: no JSON list of keys ({error})") from None
    found = suggest(
        Sampler(learned, cell, explore),
        _composition(learned.instance, supercell, counts),
        parse(settings, AnnealConfig, where="settings"),
        n=number,
        known=keys,
        boldness=boldness,
    )
    rows = zip(found.keys, found.energies.tolist(), found.spreads.tolist(), found.occupations.tolist(), strict=True)
    names = ("key", "energy_eV", "spread_eV", "occupations")
    told = {"status": "finished", "suggestions": [dict(zip(names, row, strict=True)) for row in rows]}
    if as_json:
        click.echo(json.dumps(told))
        return
    for row in told["suggestions"]:
        click.echo(f"{row['key']}  {row['energy_eV']:12.4f} +- {row['spread_eV']:.4f} eV")


@command.command("starts")
@click.argument("patterns", type=PATH)
@click.option("--which", type=click.Choice(["last", "lowest"]), default="lowest", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--output", "-o", type=PATH, default="starts.h5", show_default=True)
@JSON
@refuses
def starts(patterns, which, limit, output, as_json):
    """Structures with carrier sites from a file of `leopold patterns anneal`, for
    `aiida-leopold launch dynamics --configurations`: the lowest of each chain, or its last (a draw at its
    temperature)."""
    from leopold_model.frames import write_frames
    from leopold_model.patterns.annealing import read_patterns
    from leopold_model.patterns.starts import starting_frames

    found = starting_frames(read_patterns(patterns), which, limit)
    write_frames(output, found)
    if as_json:
        click.echo(json.dumps({"configurations": len(found), "carrier_sites": [f.carrier_sites for f in found]}))
        return
    click.echo(f"{output}: {len(found)} distinct configurations of {len(found[0])} atoms")


@command.command("correlate")
@click.argument("patterns", type=PATH, nargs=-1, required=True)
@click.option("--label", help="Sites, such as Obr; the first that hold the species if not given.")
@click.option("--species", help="What is counted; the first vacancy or dopant if not given.")
@click.option("--axis", type=click.IntRange(0, 2), default=0, show_default=True, help="Parent axis along the rows.")
@click.option("--rows", type=int, default=2, show_default=True, help="Same row, adjacent rows, and so on.")
@click.option("--which", type=click.Choice(["last", "lowest"]), default="last", show_default=True)
@click.option("--plot", type=PATH, help="The functions as PNG, PDF and CSV.")
@click.option("--map", "picture", type=PATH, help="Top view of the lowest configuration as PNG, PDF and CSV.")
@JSON
@refuses
def correlate(patterns, label, species, axis, rows, which, plot, picture, as_json):
    """Autocorrelation of defects along their rows in files of `leopold patterns anneal`; errors are over chains."""
    from leopold_model.patterns.annealing import read_patterns
    from leopold_model.patterns.correlation import autocorrelation
    from leopold_model.plots import correlation_functions, pattern_map

    found, lowest = {}, None
    for path in patterns:
        run = read_patterns(path)
        kind = species or _first_defect(run.instance)
        sites = label or next(name for name, held in run.instance.lattice.allowed.items() if kind in held)
        configurations = run.last if which == "last" else run.lowest
        found[path.stem] = autocorrelation(
            run.supercell, configurations, sites, kind, axis=axis, rows=tuple(range(rows))
        )
        lowest = lowest or run
    if plot:
        correlation_functions(plot, found)
    if picture and lowest is not None:
        best = int(np.argmin(lowest.lowest_energies))
        energy = lowest.lowest_energies[best]
        pattern_map(picture, lowest.supercell, lowest.lowest[best], f"{lowest.instance.lattice.name}, {energy:.3f} eV")
    if as_json:
        click.echo(json.dumps({name: acf.to_dict() for name, acf in found.items()}))
        return
    for name, acf in found.items():
        click.echo(
            f"{name}: {acf.species} on {acf.concentration:.1%} of {acf.label}, {acf.configurations} configurations"
        )
        click.echo("distance  " + "  ".join(f"{'same row' if r == 0 else f'row +-{r}':>14s}" for r in acf.rows))
        for d, values, errors in zip(acf.distances, acf.values.T, acf.errors.T, strict=True):
            pairs = (f"{v:6.2f} +- {e:5.2f}" for v, e in zip(values, errors, strict=True))
            click.echo(f"{d:8d}  " + "  ".join(f"{text:>14s}" for text in pairs))


class _Told:
    """Blocks done, on standard error, at most every ten seconds."""

    def __init__(self):
        self.at = time.monotonic()

    def __call__(self, done: int, blocks: int) -> None:
        if time.monotonic() - self.at > 10:
            click.echo(f"block {done}/{blocks}", err=True)
            self.at = time.monotonic()


def _composition(instance: Instance, supercell: str, counts: str | None, delocalised: int = 0):
    from leopold_model.patterns.composition import Composition

    if counts is None:
        return instance.composition(supercell)
    pairs = [_pair(text, "--counts") for text in counts.split(",")]
    return Composition(instance.lattice, {k: int(_number(v, "--counts")) for k, v in pairs}, delocalised)


def _settings(config: Path | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """Those of a YAML file, then single ones; `descriptor.kind=free` reaches into a section."""
    import yaml

    try:
        data = (yaml.safe_load(config.read_text()) or {}) if config else {}
    except (OSError, yaml.YAMLError) as error:
        raise PatternError(f"--config {config}: cannot be read ({error})") from None
    for text in settings:
        name, value = _pair(text, "--set")
        section = data
        *path, last = name.split(".")
        for part in path:
            section = section.setdefault(part, {})
        section[last] = yaml.safe_load(value)
    return data


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise PatternError(f"{option} {text!r}: expected name=value")
    return name.strip(), value


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PatternError(f"{option}: {text!r} is not a number") from None


def _triple(name: str, text: str) -> tuple[float, float, float]:
    values = tuple(_number(v, "--reach") for v in text.split(","))
    if len(values) != 3:
        raise PatternError(f"--reach {name}={text}: expected three numbers, parent vectors along each axis")
    return values


def _first_defect(instance: Instance) -> str:
    species = instance.lattice.species
    return next((s.name for s in species if s.kind != "carrier"), species[0].name)


def _row(name: str, found: dict) -> str:
    return f"{name:14s}  {found['mae']:6.2f}  {found['window_mae']:10.2f}  {found['rank_correlation']:14.4f}"
