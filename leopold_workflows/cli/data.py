"""`aiida-leopold data`: frames from outside into the profile."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.group()
def data() -> None:
    """Bring data into the profile."""


@data.command("import")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--carrier", type=click.Choice(["electron", "hole"]), help="Default: what NELECT or the file says.")
@click.option("--carriers", "n", type=click.IntRange(1), help="Their number; default: what NELECT or the file says.")
@click.option(
    "--stride", type=click.IntRange(1), default=1, show_default=True, help="Keep every n-th step, and all near a hop."
)
@click.option("--run", "names", multiple=True, help="Name of a run, one for each PATH; default: its folder's.")
@click.option("--settings", help="Hash of the level of theory you vouch for, where the files do not tell it.")
@click.option("--label", default="", help="Label of the node.")
@click.option("--json", "as_json", is_flag=True, help="PK, UUID and what the node holds as one JSON object.")
def import_(paths, carrier, n, stride, names, settings, label, as_json) -> None:
    """VASP run folders, OUTCARs and data sets (.xyz, .h5) become one set of frames.

    OUTCARs stay where they are; the node of each run holds its small inputs and the hash of every file. A run is held
    out as a test by importing it by itself.

    Example: aiida-leopold data import old/600K old/900K --stride 4 --label "MgO + hole"
    """
    from aiida import orm

    from leopold_workflows.cli import profile

    profile.load()
    from leopold_workflows.calculations.functions_import import adopt_runs
    from leopold_workflows.vasp.old_run import old_run

    if names and len(names) != len(paths):
        raise click.BadParameter(f"{len(names)} names for {len(paths)} paths; give one --run for each PATH")
    try:
        runs = [old_run(path, name) for path, name in zip(paths, names or [None] * len(paths), strict=True)]
        given = _given(carrier, n, [run.base.attributes.get("carrier", None) for run in runs])
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    twice = [name for name, count in Counter(run.label for run in runs).items() if count > 1]
    if twice:
        raise click.ClickException(f"two runs are called {twice[0]!r}: name them by one --run for each PATH")
    options = {"carrier": orm.Dict(given)} if given else {}
    options |= {"settings": orm.Str(settings)} if settings else {}
    frames, function = adopt_runs.run_get_node(
        stride=orm.Int(stride), **options, **{f"run_{k:02d}": run for k, run in enumerate(runs, start=1)}
    )
    if not function.is_finished_ok:
        raise click.ClickException(function.exit_message)
    frames.label = label or ", ".join(run.label for run in runs)
    if as_json:
        click.echo(json.dumps({"pk": frames.pk, "uuid": frames.uuid, **frames.base.attributes.all}))
        return
    _print(frames, runs)
    for older in _same_frames(frames):
        click.echo(f"the same frames are in FrameSetData<{older.pk}> {older.label}, imported {older.ctime:%Y-%m-%d}")


def _same_frames(frames) -> list:
    """Earlier nodes of the same content."""
    from aiida import orm

    digest = frames.base.attributes.get("content_hash")
    query = orm.QueryBuilder().append(type(frames), filters={"attributes.content_hash": digest, "id": {"<": frames.pk}})
    return query.all(flat=True)


def _given(kind: str | None, n: int | None, told: list[dict | None]) -> dict | None:
    """The carrier for all runs, where options name it; what they leave open is taken from the first run that tells."""
    if kind is None and n is None:
        return None
    known = next((carrier for carrier in told if carrier), {})
    kind, n = kind or known.get("kind"), n or known.get("n", 1)
    if kind is None:
        raise ValueError(f"--carriers {n}: NELECT does not say of which kind; give --carrier electron or hole too")
    return {"kind": kind, "n": n}


def _print(frames, runs) -> None:
    from leopold_workflows.vasp.old_run import MANIFEST

    console = Console()
    console.print(f"FrameSetData<{frames.pk}> {frames.label}: {frames.n_frames} frames, uuid {frames.uuid}")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("run", "steps", "frames", "T, K", "carrier sites (frames)"):
        table.add_column(title)
    every = frames.get_frames()
    steps = {run.label: run.base.attributes.get("n_steps") for run in runs}
    for run in frames.base.attributes.get("runs"):
        own = [frame for frame in every if frame.run == run]
        temperatures = sorted({round(f.temperature) for f in own if f.temperature == f.temperature})
        shown = str(temperatures[0]) if len(temperatures) == 1 else "various" if temperatures else "none"
        sites = Counter(frame.carrier_sites for frame in own).most_common(4)
        where = ", ".join(f"{' '.join(map(str, site))} ({count})" for site, count in sites)
        table.add_row(run, str(steps.get(run, "")), str(len(own)), shown, where)
    console.print(table)
    for run in runs:
        for problem in json.loads(run.base.repository.get_object_content(MANIFEST)).get("problems", []):
            console.print(f"! {run.label}: {problem}", highlight=False)
    for settings in frames.base.attributes.get("settings"):
        console.print(f"settings {settings}" if settings else "settings unknown: labels can join only with --settings")
    if any(frame.occupations is None for frame in every):
        console.print("no onsite occupations (LDAUPRINT = 0): moments can be followed, but no model be trained")
