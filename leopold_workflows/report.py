"""The report of a finished study: `summary.json`, `report.md`, figures and `report.html` with all of them, read from
the provenance graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from aiida.orm import WorkflowNode
from rich.console import Console
from rich.markdown import Markdown

from leopold_workflows import figures, provenance, report_html, report_sites

NAMED = 6  # classes nobody has seen
STANDIN = "leopold-vasp-standin"
RULES = {">=": "at least", "<=": "at most", "<": "below"}
MEANINGS = {
    "quiet_rounds": "explorations in a row that asked for no label",
    "labels_per_class": "verified labels of the class with fewest",
    "hops": "with the newest model",
    "unseen_mass": "probability that the next hop is of a class never seen",
    "stopped": "share of the replicas that a guard stopped",
    "force_rmse": "eV/Å, on hop frames",
    "occupation_rmse": "e, on hop frames",
    "labels": "asked of VASP: budget",
    "node_hours": "of all jobs: budget",
}


def summary(process: WorkflowNode, wall_time_s: float | None = None) -> dict:
    """What a study found, as JSON-ready data; parts that a failed study never made are empty."""
    outputs = process.outputs
    curve = outputs.learning_curve["rounds"] if "learning_curve" in outputs else []
    pathways = outputs.catalogue.pathways if "catalogue" in outputs else []
    return {
        "state": state_words(process),
        "exit_status": process.exit_status,
        "exit_message": process.exit_message or "",
        "rounds": len(outputs.convergence["iterations"]) if "convergence" in outputs else 0,
        "labels": outputs.label_outcomes["counts"] if "label_outcomes" in outputs else {},
        "pathways": [{key: p[key] for key in ("name", "hops", "verified_labels")} for p in pathways if p["hops"]],
        "unseen_pathways": [p["name"] for p in pathways if not p["hops"]],
        "errors": [_round_errors(row) for row in curve],
        "mobility": [_mobility(row) for row in _transport(process).get("temperatures", [])],
        "around_defects": _transport(process).get("around_defects", []),
        "convergence": outputs.convergence["iterations"][-1] if "convergence" in outputs else {},
        "of": subject(process),
        "pk": process.pk,
        "uuid": process.uuid,
        "wall_time_s": wall_time_s,
    }


def subject(process: WorkflowNode) -> str:
    """What was studied, and that it is a model's where it was not VASP that answered."""
    given = {link.link_label: link.node for link in process.base.links.get_incoming().all()}
    host, code = given.get("host"), given.get("learn__label__vasp__code") or given.get("label__vasp__code")
    carrier = given.get("seed__carrier") or given.get("learn__label__carrier")
    parts = []
    if host is not None and carrier is not None:
        told = carrier.get_dict()
        many = "s" if told["n"] > 1 else ""
        on = ", ".join(told["species"])
        parts.append(f"{host.get_formula()}, {len(host.sites)} atoms, {told['n']} {told['kind']}{many} on {on}.")
    if code is not None and Path(getattr(code, "filepath_executable", "")).name == STANDIN:
        parts.append(f"**Made with {STANDIN}, a model Hamiltonian: no numbers of DFT.**")
    return " ".join(parts)


def state_words(process: WorkflowNode) -> str:
    """Its state, with the exit status where it has finished."""
    state = process.process_state.value.capitalize() if process.process_state else "Created"
    return f"{state} [{process.exit_status}]" if process.is_finished else state


def write_report(process: WorkflowNode, folder: Path, console: Console, wall_time_s: float | None = None) -> None:
    """Write summary, figures and report (Markdown, and one HTML file with all in it) of `process` into `folder`, and
    print the report."""
    data = summary(process, wall_time_s)
    (folder / "summary.json").write_text(json.dumps(data, indent=1))
    if "model" in process.outputs:
        (folder / "model.leopold").write_bytes(process.outputs.model.get_content(mode="rb"))
    found = figures.draw(process, folder)
    provenance.draw(process, folder / "provenance.png")
    found["Provenance, steps of one kind drawn as one box"] = "provenance.png"
    text = markdown(data, _transport(process), found)
    (folder / "report.md").write_text(text)
    report_html.write(folder / "report.html", process, text)
    console.print(Markdown(markdown(data, _transport(process), {})))
    console.print(f"[bold]report, figures and summary.json in {folder}[/bold]")


def markdown(data: dict, transport: dict, figures: dict[str, str]) -> str:
    """The report as Markdown; `transport` is that output, or empty; `figures` maps a caption to a file name."""
    minutes = f", {data['wall_time_s'] / 60:.1f} min" if data["wall_time_s"] else ""
    lines = [
        f"# PolaronDynamicsWorkChain {data['pk']}: {data['state']}{minutes}",
        "",
        data["of"],
        "",
        data["exit_message"],
        "",
        f"{data['rounds']} learning rounds; labels: "
        + (", ".join(f"{n} {name}" for name, n in data["labels"].items() if n) or "none"),
        "",
        "## Pathways",
        "",
        "Hops with the newest model while learning, by class; production has its own below.",
        "",
        "| pathway | hops | verified labels |",
        "|---|---:|---:|",
        *(f"| {p['name']} | {p['hops']} | {p['verified_labels']} |" for p in data["pathways"]),
        "",
        f"Not seen: {_some(data['unseen_pathways'])}.",
        "",
        "## Errors by round",
        "",
        "On the held-out run; on hop frames: of this round's labels before they were trained on. Site: the carrier's.",
        "",
        "| round | frames | forces, meV/Å | occupations, e | site right | hop frames: forces, meV/Å | site right |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(_error_row(row) for row in data["errors"]),
        "",
        "## Why learning stopped",
        "",
        *CRITERIA_HEAD,
        *(criterion_row(c) for c in data["convergence"].get("criteria", [])),
        "",
        "## Rates and mobility",
        "",
        "| T, K | pathway | hops | rate 1/ps (95 %) |",
        "|---:|---|---:|---|",
    ]
    for row in transport.get("temperatures", []):
        for name, rate in row["rates"].items():
            if rate["count"]:
                value, low, high = map(two_digits, (rate["rate_per_ps"], *rate["interval_per_ps"]))
                temperature = f"{row['temperature_K']:.0f}"
                lines.append(f"| {temperature} | {name} | {rate['count']} | {value} ({low} to {high}) |")
    lines += [
        "",
        "| T, K | mobility cm²/(V s) (95 %) | hops | D, largest over smallest | correlation factor |",
        "|---:|---|---:|---|---|",
        *(_mobility_row(row) for row in transport.get("temperatures", [])),
        "",
        *_remarks(transport),
    ]
    lines += report_sites.around_defects(data["around_defects"])
    lines += report_sites.layers(transport.get("layers", []))
    lines += report_sites.carrier_pairs(transport.get("carrier_pairs", []))
    if figures:
        lines += ["", "## Figures", ""]
        lines += [f"![{caption}]({name})\n\n{caption}.\n" for caption, name in figures.items()]
    return "\n".join(lines) + "\n"


def _some(names: list[str]) -> str:
    """Names, as many as one reads: beside a defect there are dozens of classes."""
    rest = len(names) - NAMED
    return (", ".join(names[:NAMED]) or "none") + (f", and {rest} more, in `summary.json`" if rest > 0 else "")


def _mobility_row(row: dict) -> str:
    m, axes, msd = row["mobility_isotropic_cm2_per_Vs"], row["principal"], row["msd"]
    mobility = f"{m['value']:.1e} ({m['low']:.1e} to {m['high']:.1e})"
    ratio, (low, high) = axes["anisotropy"], axes["anisotropy_interval"] or (0, 0)
    anisotropy = f"{ratio:.2f} ({low:.2f} to {high:.2f})" if ratio else "one axis without diffusion"
    correlation = "" if isinstance(msd, str) else _interval(msd["correlation_factor"])
    return f"| {row['temperature_K']:.0f} | {mobility} | {row['n_hops']} | {anisotropy} | {correlation} |"


def _remarks(found: dict) -> list[str]:
    """What belongs to rates and mobilities: how hops were counted, activation energies, classes nobody labelled."""
    if not found:
        return []
    said = found["summary"][0].upper() + found["summary"][1:]
    lines = [f"A hop is a stay of at least {found['hops_counted_with']['tau_min_fs']:g} fs. {said}."]
    rows = found["temperatures"]
    if sum(rate["count"] for row in rows for rate in row["rates"].values()) > sum(row["n_hops"] for row in rows):
        lines.append("A hop by way of another site counts once, and each of its legs in the rate of its class.")
    lines += [f"{row['temperature_K']:.0f} K, no correlation factor: {row['msd']}." for row in rows
              if isinstance(row["msd"], str)]  # fmt: skip
    if found["arrhenius"] is None:
        lines.append(f"Activation energy: {found['arrhenius_missing']}.")
    else:
        fits = [found["arrhenius"], found["arrhenius_mobility"]]
        said = ", ".join(f"{_interval(fit['energy_eV'], 3)} eV from {fit['quantity']}" for fit in fits)
        lines.append(f"Activation energy: {said}.")
    if found["unverified_pathways"]:
        lines.append(f"Seen in production without a verified label: {', '.join(found['unverified_pathways'])}.")
    return ["\n\n".join(lines)]


def _interval(estimate: dict, decimals: int = 2) -> str:
    value, low, high = (round(estimate[key], decimals) + 0.0 for key in ("value", "low", "high"))  # no minus zero
    return f"{value:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def two_digits(value: float) -> str:
    """What an interval leaves of a rate."""
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")


def _transport(process: WorkflowNode) -> dict:
    return process.outputs.transport.get_dict() if "transport" in process.outputs else {}


def _mobility(row: dict) -> dict:
    """Isotropic mobility at one temperature with its 95 % interval, cm^2/(V s)."""
    found = row["mobility_isotropic_cm2_per_Vs"]
    return {"temperature_K": row["temperature_K"], "n_hops": row["n_hops"], "unit": "cm^2/(V s)",
            **{key: found[key] for key in ("value", "low", "high")}}  # fmt: skip


def _round_errors(row: dict) -> dict:
    kept = ("round", "n_frames", "train", "validation", "test", "hand_over", "new_labels", "holdout")
    return {key: row[key] for key in kept if key in row}


def _error_row(row: dict) -> str:
    run = row.get("test") or row.get("validation")
    hop = row.get("new_labels") or row.get("holdout")
    cells = [str(row["round"])]
    if run:
        forces, occupations = 1000 * run["forces"]["rmse"], run["occupations"]["rmse"]
        cells += [str(row["n_frames"]["train"]), f"{forces:.1f}", f"{occupations:.4f}"]
        cells += [f"{100 * run['carrier_site_accuracy']:.1f} %"]
    else:  # a round that went on with the model it had trained nothing
        cells += [""] * 4
    cells += [f"{1000 * hop['forces']:.1f}", f"{100 * hop['carrier_site_accuracy']:.1f} %"] if hop else ["", ""]
    return "| " + " | ".join(cells) + " |"


CRITERIA_HEAD = ("| criterion | value | wanted | verdict | |", "|---|---:|---|---|---|")


def criterion_row(c: dict) -> str:
    """One criterion as a row of a Markdown table."""
    verdict = "met" if c["passed"] else "not met"
    rule = RULES.get(c.get("rule", ""), "")  # of patterns the name says all
    wanted = "no limit" if c["threshold"] is None else f"{rule} {number(c['threshold'])}".strip()
    return f"| {c['name']} | {number(c['value'])} | {wanted} | {verdict} | {MEANINGS.get(c['name'], '')} |"


def number(value) -> str:
    """Three digits of a float, `none` for None."""
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
