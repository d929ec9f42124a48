"""`leopold patterns anneal | suggest`: chains through the configurations of a supercell."""

from __future__ import annotations

import json

import click
import numpy as np

from leopold_model.config import parse
from leopold_model.patterns import PatternError
from leopold_model.patterns.options import (
    COUNTS,
    JSON,
    MAX_SECONDS,
    PATH,
    SEED,
    SUPERCELL,
    Told,
    composition_of,
    number,
    pair,
    refuses,
    stopped,
    triple,
)


@click.command("anneal")
@click.argument("model", type=PATH)
@SUPERCELL
@COUNTS
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
@MAX_SECONDS
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
    temperatures = {"ladder": [number(t, "--ladder") for t in ladder.split(",")]} if ladder else {}
    config = parse(settings | temperatures, AnnealConfig, where="settings")
    far = {name: triple(name, value) for name, value in (pair(text, "--reach") for text in reach)}
    sampler = Sampler(learned, learned.instance.supercell(supercell), explore, far, coupled)
    composition = composition_of(learned.instance, supercell, counts, delocalised)
    run = anneal(
        sampler, composition, config, checkpoint=output, workers=workers, progress=Told(), max_seconds=max_seconds
    )
    found = run.summary()
    if not run.finished:
        stopped(run.progress, as_json, **found)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{output}: {found['chains']} chains of {found['moves']} moves, seed {config.seed}")
    click.echo(f"accepted {np.mean(found['acceptance']):.1%}, lowest energy {found['lowest_energy_eV']:.4f} eV")
    click.echo("lowest of each chain (eV): " + ", ".join(f"{e:.4f}" for e in found["lowest_energies_eV"]))


@click.command("suggest")
@click.argument("model", type=PATH)
@SUPERCELL
@COUNTS
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
@MAX_SECONDS
@click.option("--checkpoint", type=PATH, help="File of the chains: continued if it is there.")
@JSON
@refuses
def suggest_command(
    model, supercell, counts, number, known, boldness, explore, max_seconds, checkpoint, as_json, **settings
):
    """Which configurations to label next: low in predicted energy, disputed by the ensemble, and new.

    Example: leopold patterns suggest patterns.npz --supercell 6x4 --number 8 --known labels.h5
    """
    from leopold_model.patterns.annealing import anneal
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
    if max_seconds and not checkpoint:
        raise PatternError(f"--max-seconds {max_seconds:g}: name a --checkpoint to continue from")
    run = anneal(
        Sampler(learned, cell, explore),
        composition_of(learned.instance, supercell, counts),
        parse(settings, AnnealConfig, where="settings"),
        checkpoint=checkpoint,
        max_seconds=max_seconds,
        keep_passed=True,
    )
    if not run.finished:
        stopped(run.progress, as_json)
    found = suggest(run, n=number, known=keys, boldness=boldness)
    rows = zip(found.keys, found.energies.tolist(), found.spreads.tolist(), found.occupations.tolist(), strict=True)
    names = ("key", "energy_eV", "spread_eV", "occupations")
    told = {"status": "finished", "suggestions": [dict(zip(names, row, strict=True)) for row in rows]}
    if as_json:
        click.echo(json.dumps(told))
        return
    for row in told["suggestions"]:
        click.echo(f"{row['key']}  {row['energy_eV']:12.4f} +- {row['spread_eV']:.4f} eV")
