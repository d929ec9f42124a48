"""The report of a study of patterns: `summary.json`, `report.md` and figures, all read from the provenance graph."""

from __future__ import annotations

import json
from pathlib import Path

from aiida.orm import WorkflowNode
from rich.console import Console
from rich.markdown import Markdown

from leopold_workflows import figures, provenance, report_html
from leopold_workflows.pattern_figures import NAMES
from leopold_workflows.report import CRITERIA_HEAD, criterion_row, number, state_words, subject


def summary(process: WorkflowNode, wall_time_s: float | None = None) -> dict:
    """What a study found, as JSON-ready data; parts that a failed study never made are empty."""
    outputs = process.outputs

    def told(name: str, key: str | None = None, default=None):
        if name not in outputs:
            return default
        return outputs[name].get_dict() if key is None else outputs[name][key]

    rounds = told("convergence", "iterations", [])
    return {
        "state": state_words(process),
        "exit_status": process.exit_status,
        "exit_message": process.exit_message or "",
        "rounds": rounds,
        "labels": told("label_outcomes", "counts", {}),
        "errors": told("learning_curve", "rounds", []),
        "ranked": told("ranked", default={}),
        "correlations": told("correlations", default={}),
        "measured": told("measured_correlation", default={}),
        "of": subject(process),
        "pk": process.pk,
        "uuid": process.uuid,
        "wall_time_s": wall_time_s,
    }


def write_report(process: WorkflowNode, folder: Path, console: Console, wall_time_s: float | None = None) -> None:
    """Write summary, figures and report of `process` into `folder` and print the report."""
    data = summary(process, wall_time_s)
    (folder / "summary.json").write_text(json.dumps(data, indent=1))
    if "model" in process.outputs:
        (folder / "patterns.npz").write_bytes(process.outputs.model.get_content(mode="rb"))
    found = figures.draw(process, folder)
    provenance.draw(process, folder / "provenance.png")
    found["Provenance, steps of one kind drawn as one box"] = "provenance.png"
    text = markdown(data, process.process_label, found)
    (folder / "report.md").write_text(text)
    report_html.write(folder / "report.html", process, text)
    console.print(Markdown(markdown(data, process.process_label, {})))
    console.print(f"[bold]report, figures and summary.json in {folder}[/bold]")


def markdown(data: dict, label: str, figures: dict[str, str]) -> str:
    """The report as Markdown; `figures` maps a caption to a file name."""
    minutes = f", {data['wall_time_s'] / 60:.1f} min" if data["wall_time_s"] else ""
    counts = ", ".join(f"{n} {name}" for name, n in data["labels"].items() if n) or "none"
    lines = [f"# {label} {data['pk']}: {data['state']}{minutes}", "", data["of"], "", data["exit_message"], ""]
    lines += [f"{len(data['rounds'])} learning rounds; labels: {counts}.", "", "## Learning", ""]
    lines += ["| round | labels sent | lowest confirmed eV | suggested labels | test | pairs, test |"]
    lines += ["|---:|---:|---:|---:|---:|---:|"]
    for k, row in enumerate(data["rounds"]):
        trained = data["errors"][k] if k < len(data["errors"]) else {}
        errors = [trained[part]["mae"] if trained else None for part in ("test", "pairs")]
        cells = [row["round"], row["labels"], row["best_energy_eV"], row["window_error_meV"], *errors]
        lines.append("| " + " | ".join(number(c) for c in cells) + " |")
    lines += ["", "Errors are mean absolute ones in meV per defect; those of suggested labels are of the model that "]
    lines[-1] += "suggested them, before it was trained on them."
    lines += ["", "## Why learning stopped", "", *CRITERIA_HEAD]
    lines += [criterion_row(c) for c in (data["rounds"][-1]["criteria"] if data["rounds"] else [])]
    lines += ["", "## Lowest configurations", ""]
    lines += ["| treatment | rank | eV above the first | confirmed eV | equivalent | pairs of defects |"]
    lines += ["|---|---:|---:|---:|---:|---|"]
    for treatment, rows in data["ranked"].items():
        for row in rows:
            pairs = ", ".join(f"{n} {name}" for name, n in list(row["motifs"].items())[:6])
            cells = (row["rank"], row["energy_eV"], row["confirmed_eV"], row["degeneracy"])
            lines.append(f"| {NAMES[treatment]} | " + " | ".join(number(c) for c in cells) + f" | {pairs} |")
    lines += ["", "## Spacing of the defects", "", "| area | share of sites | configurations | same row: peak, g |"]
    lines[-1] += " adjacent rows: peak, g |"
    lines += ["|---|---:|---:|---|---|"]
    for name, acf in data["correlations"].items():
        peaks = [f"{p} sites, {acf['values'][k][p]:.2f}" for k, p in enumerate(acf["peak"][:2])]
        cells = [name, f"{acf['concentration']:.3f}", str(acf["configurations"]), *peaks, *[""] * (2 - len(peaks))]
        lines.append("| " + " | ".join(cells) + " |")
    if figures:
        lines += ["", "## Figures", ""]
        lines += [f"![{caption}]({name})\n\n{caption}.\n" for caption, name in figures.items()]
    return "\n".join(lines) + "\n"
