"""`aiida-leopold show`: the state and the report of a study."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.group()
def show() -> None:
    """Look at a study."""


def _study(pk: int):
    from aiida import load_profile
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_node

    load_profile()
    try:
        node = load_node(pk)
    except NotExistent:
        raise click.BadParameter(f"no node with pk {pk} in this profile; `verdi process list -a` shows them") from None
    if getattr(node, "process_label", None) != "PolaronDynamicsWorkChain":
        raise click.BadParameter(f"node {pk} is no PolaronDynamicsWorkChain but {node.__class__.__name__}")
    return node


@show.command()
@click.argument("pk", type=int)
def status(pk: int) -> None:
    """Stage, round, frames, errors, pathways of study PK."""
    import time

    from leopold_workflows.progress import snapshot

    node = _study(pk)
    end = node.mtime.timestamp() if node.is_terminated else time.time()
    Console().print(snapshot(node).panel(end - node.ctime.timestamp()))


@show.command()
@click.argument("pk", type=int)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("report"), show_default=True)
def report(pk: int, folder: Path) -> None:
    """Write the report of study PK: report.md, summary.json, figures."""
    from leopold_workflows.report import write_report

    folder.mkdir(parents=True, exist_ok=True)
    node = _study(pk)
    write_report(node, folder, Console(), wall_time_s=(node.mtime - node.ctime).total_seconds())
