"""`aiida-leopold show`: the state, the report, the figures and the provenance of a study."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console


@click.group()
def show() -> None:
    """Look at a study: by its PK, as `launch` printed it, or its UUID."""


def _node(pk: str):
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_node

    from leopold_workflows.cli import profile

    profile.load()
    try:
        return load_node(pk)
    except MultipleObjectsError:
        raise click.BadParameter(f"several nodes have a UUID that begins with {pk}; give more of it") from None
    except NotExistent:
        raise click.BadParameter(f"no node with PK or UUID {pk} in this profile; see `verdi process list -a`") from None


# WorkChains of patterns, which have a progress and a report of their own
PATTERNS = ("PatternsWorkChain", "LearnPatternsWorkChain", "SurfacePatternWorkChain")


def _study(pk: str):
    node = _node(pk)
    known = ("PolaronDynamicsWorkChain", *PATTERNS)
    kind = getattr(node, "process_label", None) or node.__class__.__name__
    if kind not in known:
        raise click.BadParameter(f"node {pk} is a {kind}, none of {', '.join(known)}")
    return node


_JSON = click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")


@show.command()
@click.argument("pk")
@_JSON
def status(pk: str, as_json: bool) -> None:
    """Stage, round, frames, labels, errors, pathways seen and unseen, budget and time of study PK.

    Example: aiida-leopold show status 1126
    """
    import time
    from dataclasses import asdict

    from leopold_workflows import pattern_progress, progress

    node = _study(pk)
    snapshot = (pattern_progress if node.process_label in PATTERNS else progress).snapshot
    end = node.mtime.timestamp() if node.is_terminated else time.time()
    elapsed = end - node.ctime.timestamp()
    if as_json:
        click.echo(json.dumps({**asdict(snapshot(node)), "elapsed_s": elapsed}))
        return
    Console().print(snapshot(node).panel(elapsed))


@show.command()
@click.argument("pk")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("report"), show_default=True)
def report(pk: str, folder: Path) -> None:
    """Write the report of study PK: report.html (one file with all in it), report.md, summary.json, figures.

    Example: aiida-leopold show report 1126 --folder mgo
    """
    from leopold_workflows import pattern_report
    from leopold_workflows import report as dynamics_report

    folder.mkdir(parents=True, exist_ok=True)
    node = _study(pk)
    write_report = (pattern_report if node.process_label in PATTERNS else dynamics_report).write_report
    write_report(node, folder, Console(), wall_time_s=(node.mtime - node.ctime).total_seconds())


@show.command()
@click.argument("pk")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("figures"), show_default=True)
@_JSON
def figures(pk: str, folder: Path, as_json: bool) -> None:
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
    if as_json:
        click.echo(json.dumps({str(folder / name): caption for caption, name in found.items()}))
        return
    for caption, name in found.items():
        click.echo(f"{folder / name}  {caption}")


@show.command()
@click.argument("pk")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Of a process: draw it (.png, .pdf).")
@_JSON
def provenance(pk: str, picture: Path | None, as_json: bool) -> None:
    """What node PK was made from, down to the VASP runs, and what has been made with it: calculations by kind.

    PK is any node: a mobility, a model, frames, a VASP run; of a WorkChain, what its outputs were made from.

    Example: aiida-leopold show provenance 1150 --json
    """
    from aiida.common.links import LinkType
    from aiida.orm import WorkflowNode

    from leopold_workflows import queries
    from leopold_workflows.provenance import draw

    node = _node(pk)
    if picture is not None:
        if not isinstance(node, WorkflowNode):
            raise click.BadParameter(f"--picture is of a WorkChain; node {pk} is a {node.__class__.__name__}")
        draw(node, picture)
    nodes = [link.node for link in node.base.links.get_outgoing(link_type=LinkType.RETURN).all()]
    before, after = ({process.pk: process for n in nodes or [node] for process in of(n)}
                     for of in (queries.made_by, queries.made_with))  # fmt: skip
    found = {"made_by": _by_kind(before), "made_with": _by_kind(after)}
    if as_json:
        click.echo(json.dumps({"pk": node.pk, "uuid": node.uuid, **found}))
        return
    for title, kinds in (("made from", found["made_by"]), ("went into", found["made_with"])):
        click.echo(f"{title}:" if kinds else f"{title}: nothing")
        for kind, pks in kinds.items():
            click.echo(f"  {len(pks):5}  {kind}  {_some(pks)}")


def _by_kind(processes: dict) -> dict[str, list[int]]:
    """PKs by the label of the process, kinds in the order in which they first ran."""
    kinds: dict[str, list[int]] = {}
    for process in sorted(processes.values(), key=lambda process: process.ctime):
        kinds.setdefault(process.process_label, []).append(process.pk)
    return kinds


def _some(pks: list[int], most: int = 8) -> str:
    shown = " ".join(map(str, pks[:most]))
    return f"{shown} ... {pks[-1]}" if len(pks) > most else shown
