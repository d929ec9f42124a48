"""What a running study of patterns is doing, read from its provenance graph."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from aiida.orm import Dict, WorkflowNode, load_node
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from leopold_workflows.process_tree import Process, descendants, outputs
from leopold_workflows.progress import job_line
from leopold_workflows.stages import stage_of, state_of

# the WorkChain of one label, and what it is called where it ended
LABEL = "LocaliseWorkChain"


@dataclass(frozen=True)
class PatternSnapshot:
    """The state of one study of patterns at one moment; `rounds` are the assessments of its learning, `errors` those of
    the models in meV per defect."""

    pk: int
    label: str
    state: str
    stage: str
    labels: dict[str, int] = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    annealed: int = 0
    running: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for logs."""
        parts = [self.stage, " ".join(f"{n} {name}" for name, n in sorted(self.labels.items())) or "no labels"]
        if self.rounds:
            last = self.rounds[-1]
            parts.append(f"round {last['round']}, lowest {_number(last['best_energy_eV'], 3)} eV")
        if self.errors:
            parts.append(f"test error {self.errors[-1]:.1f} meV per defect")
        if self.annealed:
            parts.append(f"{self.annealed} annealed")
        return " | ".join(parts + self.running[:1])

    def panel(self, elapsed: float) -> Panel:
        """The live view."""
        head = Table.grid(padding=(0, 2))
        head.add_row("stage", f"[bold]{self.stage}[/bold]")
        head.add_row("labels", "  ".join(f"{name} {n}" for name, n in sorted(self.labels.items())) or "none yet")
        head.add_row("annealed", str(self.annealed))
        head.add_row("time", f"{elapsed / 60:.1f} min")
        parts: list = [head]
        if self.rounds:
            table = Table(box=None, padding=(0, 2), header_style="dim")
            for title in ("round", "labels", "lowest eV", "suggested: meV per defect", "test: meV per defect"):
                table.add_column(title, justify="right")
            for k, row in enumerate(self.rounds):
                error = f"{self.errors[k]:.1f}" if k < len(self.errors) else ""
                cells = (_number(row["best_energy_eV"], 3), _number(row["window_error_meV"], 1), error)
                table.add_row(str(row["round"]), str(row["labels"]), *cells)
            parts.append(table)
        parts += [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self.running[:4]]
        return Panel(Group(*parts), title=f"{self.label} {self.pk}: {self.state}", title_align="left")


def snapshot(process: WorkflowNode) -> PatternSnapshot:
    """The state of `process` (a study of patterns, its learning or its surface) now."""
    tree = descendants(process)
    trainings = [n for n in tree if n.label == "PatternTrainCalculation" and n.is_finished_ok]
    assessed = [n for n in tree if n.label == "assess_patterns" and n.is_finished_ok]
    return PatternSnapshot(
        pk=process.pk,
        label=process.process_label,
        state=state_of(process),
        stage=stage_of(process, tree),
        labels=dict(Counter(_outcome(n) for n in tree if n.label == LABEL)),
        rounds=outputs(assessed, Dict, "attributes"),
        errors=[test["mae"] for test in outputs(trainings, Dict, "attributes.test", "results")],
        annealed=sum(n.label == "PatternAnnealCalculation" and n.is_finished_ok for n in tree),
        running=[job_line(load_node(n.pk)) for n in tree if n.is_job and not n.is_terminated],
    )


def _outcome(label: Process) -> str:
    if not label.is_terminated:
        return "running"
    return {0: "verified", 502: "moved", 501: "delocalised"}.get(label.exit_status, "failed")


def _number(value, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
