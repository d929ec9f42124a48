"""`aiida-leopold show`: the state and the report of a study."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.group()
def show() -> None:
    """Look at a study."""


def _node(pk: int):
    from aiida import load_profile
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_node

    load_profile()
    try:
        return load_node(pk)
    except NotExistent:
        raise click.BadParameter(f"no node with pk {pk} in this profile; `verdi process list -a` shows them") from None


# WorkChains of patterns, which have a progress and a report of their own
PATTERNS = ("PatternsWorkChain", "LearnPatternsWorkChain", "SurfacePatternWorkChain")


def _study(pk: int):
    node = _node(pk)
    known = ("PolaronDynamicsWorkChain", *PATTERNS)
    if getattr(node, "process_label", None) not in known:
        raise click.BadParameter(f"node {pk} is a {node.__class__.__name__}, none of {', '.join(known)}")
    return node


@show.command()
@click.argument("pk", type=int)
def status(pk: int) -> None:
    """Stage, round, labels, errors, pathways of study PK."""
    import time

    from leopold_workflows import pattern_progress, progress

    node = _study(pk)
    snapshot = (pattern_progress if node.process_label in PATTERNS else progress).snapshot
    end = node.mtime.timestamp() if node.is_terminated else time.time()
    Console().print(snapshot(node).panel(end - node.ctime.timestamp()))


@show.command()
@click.argument("pk", type=int)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("report"), show_default=True)
def report(pk: int, folder: Path) -> None:
    """Write the report of study PK: report.html (one file with all in it), report.md, summary.json, figures."""
    from leopold_workflows import pattern_report
    from leopold_workflows import report as dynamics_report

    folder.mkdir(parents=True, exist_ok=True)
    node = _study(pk)
    write_report = (pattern_report if node.process_label in PATTERNS else dynamics_report).write_report
    write_report(node, folder, Console(), wall_time_s=(node.mtime - node.ctime).total_seconds())


@show.command()
@click.argument("pk", type=int)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("figures"), show_default=True)
def figures(pk: int, folder: Path) -> None:
    """Draw what the outputs of process PK allow, as PDF and PNG with the numbers of each as CSV.

    PK is any finished process: a study, its learning, an exploration, transport, a barrier, labels, an evaluation.

    Example: aiida-leopold show figures 1126 --folder paper
    """
    from aiida.orm import ProcessNode

    from leopold_workflows.figures import draw

    node = _node(pk)
    if not isinstance(node, ProcessNode) or not node.is_terminated:
        state = "still running" if isinstance(node, ProcessNode) else f"a {node.__class__.__name__}, not a process"
        raise click.BadParameter(f"node {pk} is {state}; give the PK of a finished process (`verdi process list -a`)")
    found = draw(node, folder)
    if not found:
        raise click.ClickException(f"{node.process_label}<{pk}> has no output that a figure is drawn of")
    for caption, name in found.items():
        click.echo(f"{folder / name}  {caption}")
