"""Calcfunctions that judge a round of learning and gather the rounds into one record."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from leopold_model.analysis.convergence import Limits, Standing, quiet_rounds
from leopold_model.analysis.convergence import assess as judge
from leopold_model.config import parse
from leopold_workflows.calculations.functions_hops import in_need
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.settings import LearnSettings


@calcfunction
def hop_frame_errors(results: orm.Dict) -> orm.Dict:
    """What leopold.evaluate found on hop frames, in short, over all and per pathway: rmse of forces (eV/A), occupations
    (e), moments (mu_B), and the fraction of frames whose carrier site is right. Frames from before a stop do not count
    where there are hop frames: they are far from all that was learned."""

    def short(report: dict) -> dict:
        quantities = {name: report[name] and report[name]["rmse"] for name in ("forces", "occupations", "moments")}
        return {name: report[name] for name in ("n_frames", "carrier_site_accuracy")} | quantities

    told = results.get_dict()
    pathways = {name: short(part) for name, part in told.get("pathways", {}).items()}
    return orm.Dict(short(told.get("hop_frames", told)) | {"pathways": pathways})


@calcfunction
def assess(catalogue: PathwaySetData, settings: orm.Dict, round: orm.Int, spent: orm.Dict, **earlier) -> orm.Dict:
    """Every criterion after one exploration: name, value, threshold, verdict; and the next step in words.

    `spent`: labels `asked` for because of it, `labels` and `node_hours` over all rounds, `untrained` whether labels
    wait to be trained on. `earlier` holds the assessment of the round before (`previous`) and the errors on hop
    frames never trained on (`hop_errors`), where there are any.
    """
    limits = parse(settings.get_dict(), LearnSettings)
    criteria, selection = limits.criteria, limits.selection
    pathways = catalogue.pathways
    seen = [p["name"] for p in pathways if p["hops"]]
    lacking = [p["name"] for p in in_need(pathways, selection)]
    verified = {p["name"]: p["verified_labels"] for p in pathways}
    given_up = [name for name in seen if verified[name] < selection.min_verified and name not in lacking]
    errors = earlier["hop_errors"].get_dict() if "hop_errors" in earlier else {}
    quiet = quiet_rounds(
        earlier["previous"]["quiet"] if "previous" in earlier else 0,
        catalogue.catalogue["rounds"][-1]["hops"],
        asked=bool(spent["asked"] or lacking or given_up),
    )
    standing = Standing(
        hops={p["name"]: p["hops"] for p in pathways},
        verified=verified,
        given_up=tuple(given_up),
        quiet=quiet,
        # catalogues made before it was counted do not say it
        stopped=catalogue.catalogue["rounds"][-1].get("stopped", 0.0),
        force_rmse=errors.get("forces"),
        occupation_rmse=errors.get("occupations"),
        labels=spent["labels"],
        node_hours=spent["node_hours"],
        untrained=spent["untrained"],
    )
    bounds = Limits(
        **criteria.model_dump(),
        min_verified=selection.min_verified,
        max_labels=limits.max_labels,
        max_node_hours=limits.max_node_hours,
    )
    return orm.Dict(
        {
            "round": round.value,
            "quiet": quiet,
            "lacking_labels": lacking,
            "given_up": given_up,
            "seen": seen,
            "unseen": [p["name"] for p in pathways if not p["hops"]],
            **judge(standing, bounds).to_dict(),
        }
    )


@calcfunction
def gather_convergence(**rounds: orm.Dict) -> orm.Dict:
    """The assessments of all rounds; `converged`, `failing` and `next_step` as of the last."""
    iterations = [rounds[name].get_dict() for name in sorted(rounds)]
    return orm.Dict(
        {key: iterations[-1][key] for key in ("converged", "failing", "next_step")} | {"iterations": iterations}
    )


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
