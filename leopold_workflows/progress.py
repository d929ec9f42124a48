"""What a running study is doing, read from its provenance graph: stage, round, frames by source, errors, pathways seen
and unseen, labels, budget, time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiida.orm import CalcJobNode, Dict, WorkflowNode, load_node
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from leopold_model.config import parse
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.process_tree import Process, descendants, inputs, outputs
from leopold_workflows.settings import LearnSettings
from leopold_workflows.stages import stage_of, state_of
from leopold_workflows.vasp.verdict import MISSES

NAMED = 4  # of the classes not seen, in the live view
# share of the wall time of a `fast` study on two cores, only to estimate what is left
SHARE = {"seed": 0.15, "learn": 0.75, "transport": 0.10}


@dataclass(frozen=True)
class Snapshot:
    """The state of one study at one moment."""

    pk: int
    state: str
    stage: str
    round: int
    frames: int
    rounds: list[dict] = field(default_factory=list)  # errors on the held-out run, of each finished training
    pathways: list[dict] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)  # frames by where they are from
    budget: dict[str, tuple[float, float | None]] = field(default_factory=dict)  # name: (spent, limit)
    failing: list[str] = field(default_factory=list)  # criteria that the last round did not meet
    jobs: dict[str, int] = field(default_factory=dict)  # finished calculations by kind
    running: list[str] = field(default_factory=list)
    fraction: float = 0.0

    @property
    def hops(self) -> int:
        return sum(p.get("hops", 0) for p in self.pathways)

    def line(self) -> str:
        """One line for logs."""
        parts = [self.stage, f"round {self.round}", f"{self.frames} frames"]
        if self.rounds:
            parts.append(_errors(self.rounds[-1]))
        if self.pathways:
            parts.append(f"{self.hops} hops, {_n_seen(self.pathways)} pathways")
        if self.labels:
            parts.append("labels " + " ".join(f"{k} {v}" for k, v in sorted(self.labels.items())))
        return " | ".join(parts + self.running[:1])

    def panel(self, elapsed: float) -> Panel:
        """The live view."""
        head = Table.grid(padding=(0, 2))
        head.add_row("stage", f"[bold]{self.stage}[/bold]")
        head.add_row("round", str(self.round))
        by_source = ", ".join(f"{n} {name}" for name, n in self.sources.items())
        head.add_row("frames", f"{self.frames}   [dim]{by_source}[/dim]" if by_source else str(self.frames))
        left = f"about {elapsed * (1 / self.fraction - 1) / 60:.0f} min left" if 0.05 < self.fraction < 1 else ""
        head.add_row("time", f"{elapsed / 60:.1f} min   [dim]{left}[/dim]")
        if self.labels:
            head.add_row("labels", "  ".join(f"{k} {v}" for k, v in sorted(self.labels.items())))
        if self.budget:
            head.add_row("budget", "  ".join(_spent(name, *amounts) for name, amounts in self.budget.items()))
        if self.failing:
            head.add_row("not met", ", ".join(self.failing))
        parts: list = [head]
        if self.rounds:
            table = Table(box=None, padding=(0, 2), header_style="dim")
            for title in ("round", "forces meV/A", "occupations", "carrier site"):
                table.add_column(title, justify="right")
            for k, errors in enumerate(self.rounds, 1):
                table.add_row(
                    str(k),
                    f"{1000 * errors['forces']['rmse']:.1f}",
                    f"{errors['occupations']['rmse']:.4f}",
                    f"{100 * errors['carrier_site_accuracy']:.1f} %",
                )
            parts.append(table)
        if self.pathways:
            table = Table(box=None, padding=(0, 2), header_style="dim")
            for title in ("pathway", "hops", "verified labels"):
                table.add_column(title, justify="left" if title == "pathway" else "right")
            for p in self.pathways:
                if p.get("hops", 0):
                    table.add_row(p["name"], str(p["hops"]), str(p.get("verified_labels", 0)))
            parts.append(table)
            unseen = [p["name"] for p in self.pathways if not p.get("hops", 0)]
            if unseen:
                more = f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else ""
                parts.append(Text(f"  not seen: {', '.join(unseen[:NAMED])}{more}", style="dim"))
        parts += [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self.running[:4]]
        return Panel(Group(*parts), title=f"PolaronDynamicsWorkChain {self.pk}: {self.state}", title_align="left")


def snapshot(process: WorkflowNode) -> Snapshot:
    """The state of the study `process` now; reads the database and, for local jobs, the last line they printed."""
    tree = descendants(process)
    trainings = [n for n in tree if n.label == "TrainCalculation"]
    errors = outputs([n for n in trainings if n.is_finished_ok], Dict, "attributes.errors", "results")
    # that of production knows no labels
    learned = outputs([n for n in tree if n.label in ("update_catalogue", "record_labels")], PathwaySetData, "id")
    catalogues = learned or outputs(tree, PathwaySetData, "id")
    if trainings:
        sources = max(inputs(trainings, FrameSetData, "attributes.sources", "frames"), key=lambda s: sum(s.values()))
    else:
        runs = [n for n in tree if n.label == "LeopoldVaspCalculation"]
        sources = dict(sum(map(Counter, outputs(runs, FrameSetData, "attributes.sources")), Counter()))
    labels = dict(Counter(_outcome(n) for n in tree if n.label == "LabelWorkChain"))
    round = max((int(n.link.split("_")[1]) for n in tree if n.link.startswith("round_")), default=0)
    assessed = outputs([n for n in tree if n.label == "assess" and n.is_finished_ok], Dict, "attributes")
    return Snapshot(
        pk=process.pk,
        state=state_of(process),
        stage=stage_of(process, tree),
        round=round,
        frames=sum(sources.values()),
        sources=sources,
        rounds=[e.get("test") or e["validation"] for e in errors],
        pathways=load_node(catalogues[-1]).pathways if catalogues else [],
        labels=labels,
        budget=_budget(tree, round, labels, assessed),
        failing=assessed[-1]["failing"] if assessed else [],
        jobs=dict(Counter(n.label for n in tree if n.is_job and n.is_finished)),
        running=[job_line(load_node(n.pk)) for n in tree if n.is_job and not n.is_terminated],
        fraction=_fraction(process, tree),
    )


def _budget(tree: list[Process], round: int, labels: dict[str, int], assessed: list[dict]) -> dict:
    """Rounds, labels and node-hours: spent so far, the last as of the round before, and allowed."""
    settings = inputs([n for n in tree if n.label == "LearnWorkChain"], Dict, "attributes", "settings")
    if not settings:
        return {}
    limits = parse(settings[-1], LearnSettings)
    hours = [c["value"] for c in assessed[-1]["criteria"] if c["name"] == "node_hours"] if assessed else []
    return {
        "rounds": (round, limits.max_rounds),
        "labels": (sum(labels.values()), limits.max_labels),
        "node-hours": (hours[0] if hours else 0.0, limits.max_node_hours),
    }


def _spent(name: str, value: float, limit: float | None) -> str:
    return f"{value:.3g} of {limit:.4g} {name}" if limit is not None else f"{value:.3g} {name}"


def _outcome(label: Process) -> str:
    if not label.is_terminated:
        return "running"
    outcomes = {0: "verified"} | {status: outcome for outcome, status in MISSES.items()}
    return outcomes.get(label.exit_status, "failed")


def job_line(job: CalcJobNode) -> str:
    """Kind, pk and the last line a job printed, where its folder is on this machine."""
    head = f"{job.process_label} {job.pk}"
    folder, name = job.get_remote_workdir(), job.get_option("scheduler_stdout") or "_scheduler-stdout.txt"
    for candidate in ("OSZICAR", "leopold.out", "leopold.err", name):
        path = Path(folder or "/nonexistent") / candidate
        if path.is_file():
            with path.open("rb") as handle:
                handle.seek(max(0, path.stat().st_size - 400))
                tail = handle.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
            if tail:
                return f"{head}: {tail[-1].strip()}"
    return f"{head}: queued"


def _fraction(process: WorkflowNode, tree: list[Process]) -> float:
    if process.is_terminated:
        return 1.0
    done = {n.label for n in tree if n.is_terminated}
    fraction = 0.0
    if "SeedWorkChain" in done:
        fraction += SHARE["seed"]
    if "LearnWorkChain" in done:
        return fraction + SHARE["learn"]
    # a study has two or three rounds of train, explore and label, of about equal weight
    steps = sum(n.is_terminated for n in tree if n.label in
                ("TrainBaseWorkChain", "ExploreWorkChain", "LabelFramesWorkChain"))  # fmt: skip
    return fraction + SHARE["learn"] * min(steps / 6, 0.95)


def _errors(errors: dict) -> str:
    forces, sites = 1000 * errors["forces"]["rmse"], 100 * errors["carrier_site_accuracy"]
    return f"forces {forces:.0f} meV/A, carrier site {sites:.1f} %"


def _n_seen(pathways: list[dict]) -> int:
    return sum(p.get("hops", 0) > 0 for p in pathways)
