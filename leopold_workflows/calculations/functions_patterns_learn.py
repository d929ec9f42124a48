"""Calcfunctions that judge a round of learning patterns and gather the rounds into one record."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from leopold_model.config import parse
from leopold_workflows.calculations.functions_patterns import carriers_in
from leopold_workflows.data.patterns import PatternLabelsData
from leopold_workflows.pattern_settings import PatternLearnSettings


@calcfunction
def tried_keys(labels: PatternLabelsData, **outcomes: orm.Dict) -> orm.List:
    """Canonical keys of all configurations that were asked for, reached, or labelled before."""
    keys = set(labels.get_labels().keys)
    for record in outcomes.values():
        for key, row in record["labels"].items():
            keys |= {key, row.get("reached_key", key)}
    return orm.List(sorted(keys))


@calcfunction
def assess_patterns(
    labels: PatternLabelsData, settings: orm.Dict, round: orm.Int, spent: orm.Dict, **earlier: orm.Dict
) -> orm.Dict:
    """Every criterion after the labels of one round: name, value, threshold, verdict; and the next step in words.

    `labels` are all so far, `spent` says how many `labels` were asked for over all rounds and whether anything `new`
    was suggested. `earlier` holds the assessment of the round before (`previous`) and what this round's labels came to
    (`outcomes`), where there are any.
    """
    limits = parse(settings.get_dict(), PatternLearnSettings)
    criteria = limits.criteria
    best, key = lowest(labels)
    before = earlier["previous"].get_dict() if "previous" in earlier else {"quiet": -1}
    highest = before.get("best_energy_eV")
    lower = best is None or highest is None or best < highest - criteria.energy_tolerance
    quiet = 0 if lower else before["quiet"] + 1
    error = window_error(earlier["outcomes"]) if "outcomes" in earlier else before.get("window_error_meV")
    told = [
        _criterion("quiet rounds", quiet, criteria.quiet_rounds, quiet >= criteria.quiet_rounds),
        _criterion(
            "error on suggested labels, meV per defect",
            error,
            criteria.max_window_error,
            error is not None and error <= criteria.max_window_error,
        ),
    ]
    failing = [c["name"] for c in told if not c["passed"]]
    out_of_budget = spent["labels"] >= limits.max_labels
    state = "converged" if not failing else "budget_exhausted" if out_of_budget else "continue"
    return orm.Dict(
        {
            "round": round.value,
            "best_energy_eV": best,
            "best_key": key,
            "quiet": quiet,
            "window_error_meV": error,
            "labels": spent["labels"],
            "criteria": told,
            "failing": failing,
            "converged": not failing,
            "state": state,
            "next_step": _next_step(failing, out_of_budget, bool(spent["new"])),
        }
    )


def lowest(labels: PatternLabelsData) -> tuple[float | None, str | None]:
    """Lowest confirmed energy (eV) of a configuration with carriers, and its key."""
    found = [
        (float(energy), key)
        for group in labels.get_labels().groups
        for row, energy, key in zip(group.occupations, group.energies, group.keys, strict=True)
        if carriers_in(group.supercell, row)
    ]
    return min(found) if found else (None, None)


def window_error(outcomes: orm.Dict) -> float | None:
    """Mean |predicted - confirmed| in meV per defect over the configurations that a model suggested and that stayed
    what they were; None where there is none."""
    rows = [r for r in outcomes["labels"].values() if r["outcome"] == "verified" and r["predicted_eV"] is not None]
    if not rows:
        return None
    each = [abs(r["predicted_eV"] - r["energy_eV"]) / np.count_nonzero(r["reached"]) for r in rows]
    return float(1e3 * np.mean(each))


def _criterion(name: str, value, threshold, passed: bool) -> dict:
    return {"name": name, "value": value, "threshold": threshold, "passed": bool(passed)}


def _next_step(failing: list[str], out_of_budget: bool, new: bool) -> str:
    if not failing:
        return "anneal a large area (leopold.patterns.surface)"
    if not new:
        return "raise the temperature or the moves of `suggest`: it found nothing that was not labelled"
    if out_of_budget:
        return "raise max_labels and go on from the outputs `labels`, `delocalised` and `reference`"
    return "go on with another round"


@calcfunction
def gather_pattern_rounds(**rounds: orm.Dict) -> orm.Dict:
    """The assessments of all rounds; `converged`, `failing` and `next_step` as of the last."""
    iterations = [rounds[name].get_dict() for name in sorted(rounds)]
    last = iterations[-1]
    return orm.Dict({key: last[key] for key in ("converged", "failing", "next_step")} | {"iterations": iterations})


@calcfunction
def gather_pattern_outcomes(**rounds: orm.Dict) -> orm.Dict:
    """Outcomes of all rounds: `counts` over all, and every round's record."""
    records = [{"round": _number(name)} | rounds[name].get_dict() for name in sorted(rounds)]
    counts: dict[str, int] = {}
    for record in records:
        for outcome, n in record["counts"].items():
            counts[outcome] = counts.get(outcome, 0) + n
    return orm.Dict({"counts": counts, "total": sum(r["total"] for r in records), "rounds": records})


@calcfunction
def gather_pattern_curve(**trainings: orm.Dict) -> orm.Dict:
    """Errors of every round's model: on labels it was trained on, on others, and of the pair expansion beside it.

    Round 0 is that of labels given beforehand.
    """
    rows = []
    for name in sorted(trainings):
        told = trainings[name].get_dict()
        parts = {part: told[part] for part in ("labels", "train", "validation", "test")}
        rows.append({"round": _number(name), **parts, "pairs": told["pair_expansion"]["test"]})
    return orm.Dict({"rounds": rows})


def _number(name: str) -> int:
    """Of a `round_<number>`: rounds that suggested nothing have neither labels nor a training."""
    return int(name.removeprefix("round_"))
