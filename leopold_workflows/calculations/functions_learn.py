"""Calcfunctions that judge a round of learning and gather the rounds into one record."""

from __future__ import annotations

from dataclasses import asdict

from aiida import orm
from aiida.engine import calcfunction

from leopold_model.analysis.convergence import Criterion, good_turing
from leopold_model.config import parse
from leopold_workflows.calculations.functions_hops import in_need
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.settings import LearnSettings


@calcfunction
def hop_frame_errors(results: orm.Dict) -> orm.Dict:
    """What leopold.evaluate found on hop frames, in short, over all and per pathway: rmse of forces (eV/A), occupations
    (e), moments (mu_B), and the fraction of frames whose carrier site is right."""

    def short(report: dict) -> dict:
        quantities = {name: report[name] and report[name]["rmse"] for name in ("forces", "occupations", "moments")}
        return {name: report[name] for name in ("n_frames", "carrier_site_accuracy")} | quantities

    told = results.get_dict()
    return orm.Dict(short(told) | {"pathways": {name: short(part) for name, part in told["pathways"].items()}})


@calcfunction
def assess(catalogue: PathwaySetData, settings: orm.Dict, round: orm.Int, n_labels: orm.Int, **earlier) -> orm.Dict:
    """Every criterion after one exploration: name, value, threshold, verdict.

    `n_labels` were asked for because of it: then it was not quiet, whatever they answered. `earlier` holds
    the assessment of the round before (`previous`) and the errors on hop frames never trained on
    (`hop_errors`), where there are any; a criterion without a value is not met.
    """
    limits = parse(settings.get_dict(), LearnSettings)
    criteria, selection = limits.criteria, limits.selection
    pathways = catalogue.pathways
    seen = [p for p in pathways if p["hops"]]
    lacking = [p["name"] for p in in_need(pathways, selection)]
    given_up = [p["name"] for p in seen if p["verified_labels"] < selection.min_verified and p["name"] not in lacking]
    before = earlier["previous"]["quiet"] if "previous" in earlier else 0
    # an exploration that saw no hop is not quiet but blind: it counts for nothing
    blind = not catalogue.catalogue["rounds"][-1]["hops"]
    quiet = 0 if n_labels.value or lacking or given_up else before if blind else before + 1
    counts = {p["name"]: p["hops"] for p in seen}
    errors = earlier["hop_errors"].get_dict() if "hop_errors" in earlier else {}
    fewest = min((p["verified_labels"] for p in seen), default=0)
    table = [
        _criterion("quiet_rounds", quiet, ">=", criteria.quiet_rounds, ""),
        _criterion("labels_per_class", fewest, ">=", selection.min_verified, ", ".join(lacking + given_up)),
        _criterion("hops", sum(counts.values()), ">=", criteria.min_hops, "with the newest model"),
        _criterion("unseen_mass", good_turing(counts), "<=", criteria.max_unseen_mass, f"{len(seen)} classes"),
        _criterion("force_rmse", errors.get("forces"), "<=", criteria.max_force_rmse, "eV/Angstrom on hop frames"),
        _criterion("occupation_rmse", errors.get("occupations"), "<=", criteria.max_occupation_rmse, "e on hop frames"),
    ]
    return orm.Dict(
        {
            "round": round.value,
            "quiet": quiet,
            "lacking_labels": lacking,
            "given_up": given_up,
            "seen": [p["name"] for p in seen],
            "unseen": [p["name"] for p in pathways if not p["hops"]],
            "criteria": [asdict(c) for c in table],
            "converged": all(c.passed for c in table),
        }
    )


@calcfunction
def gather_convergence(**rounds: orm.Dict) -> orm.Dict:
    """The assessments of all rounds; `converged` and `failing` as of the last."""
    iterations = [rounds[name].get_dict() for name in sorted(rounds)]
    failing = [c["name"] for c in iterations[-1]["criteria"] if not c["passed"]] if iterations else []
    return orm.Dict({"converged": not failing and bool(iterations), "failing": failing, "iterations": iterations})


@calcfunction
def gather_learning_curve(**parts: orm.Dict) -> orm.Dict:
    """Errors round by round. `parts`: `round_NN_training` (results of leopold.train), `round_NN_new_labels`
    (errors of that round's model on the labels it asked for, before any was trained on) and
    `round_NN_holdout` (its errors on hop frames that are never trained on)."""
    rounds: dict[int, dict] = {}
    for name in sorted(parts):
        _, number, part = name.split("_", 2)
        row, data = rounds.setdefault(int(number), {"round": int(number)}), parts[name].get_dict()
        if part == "training":
            row |= data["errors"] | {"n_frames": data["data"], "epochs": data["epochs"]}
        else:
            row[part] = data
    return orm.Dict({"rounds": [rounds[number] for number in sorted(rounds)]})


@calcfunction
def gather_label_outcomes(**rounds: orm.Dict) -> orm.Dict:
    """Outcomes of all labels: `counts` over all rounds, and every round's record as the labelling gave it."""
    records = {int(name.split("_")[1]): rounds[name].get_dict() for name in sorted(rounds)}
    counts: dict[str, int] = {}
    for record in records.values():
        for outcome, n in record["counts"].items():
            counts[outcome] = counts.get(outcome, 0) + n
    return orm.Dict(
        {
            "counts": counts,
            "total": sum(r["total"] for r in records.values()),
            "rounds": [{"round": number} | records[number] for number in sorted(records)],
        }
    )


def _criterion(name: str, value: float | None, rule: str, threshold: float, detail: str) -> Criterion:
    """A criterion with its verdict; without a value it is not met."""
    passed = value is not None and (value >= threshold if rule == ">=" else value <= threshold)
    return Criterion(name, value, threshold, rule, passed, detail)
