"""When learning may stop: every criterion with its value, its threshold and its verdict.

That no new pathway appears is not enough: a run too short or too cold says the same. So a study has converged when
explorations bring no new class, AND few hops fall in classes seen once (Good-Turing), AND every seen class has
verified labels, AND the model is right on frames along hops, AND there were enough hops to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """Thresholds. Explorations without a new class; Good-Turing unseen mass; verified labels per seen class; hops in
    all; forces in eV/Angstrom and occupations in e on hop frames (root mean square); labels and node-hours to spend,
    None for no limit."""

    quiet_rounds: int = 2
    unseen_mass: float = 0.05
    labels_per_class: int = 1
    min_hops: int = 20
    max_force_rmse: float = 0.10
    max_occupation_rmse: float = 0.05
    max_labels: int | None = None
    max_node_hours: float | None = None


@dataclass(frozen=True)
class Criterion:
    """One requirement: `passed` compares `value` with `threshold` as `rule` says; `detail` names what is missing."""

    name: str
    value: float | None
    threshold: float
    rule: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Convergence:
    """`criteria` of one round; `state` is 'converged', 'continue', 'too_few_hops' or 'budget_exhausted'; `next_step`
    in words."""

    criteria: tuple[Criterion, ...]
    state: str
    next_step: str

    @property
    def converged(self) -> bool:
        """Whether learning may stop."""
        return self.state == "converged"

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "state": self.state,
            "converged": self.converged,
            "next_step": self.next_step,
            "criteria": [asdict(c) for c in self.criteria],
        }


def good_turing(counts: Mapping[str, int]) -> float:
    """Estimated probability that the next hop is of a class never seen: classes seen once over hops (Good, Biometrika
    40, 237, 1953). 1 without hops."""
    total = sum(counts.values())
    return sum(n == 1 for n in counts.values()) / total if total else 1.0


def quiet_rounds(rounds: Sequence[Mapping[str, int]]) -> tuple[int, tuple[str, ...]]:
    """Explorations at the end that brought no new class, and the classes that were new last. `rounds` holds class ->
    hops of each exploration. One without any hop is not quiet but blind: it counts for nothing."""
    seen: set[str] = set()
    quiet = 0
    latest: tuple[str, ...] = ()
    for counts in rounds:
        classes = {name for name, n in counts.items() if n}
        if not classes:
            continue
        new = classes - seen
        quiet = 0 if new else quiet + 1
        latest = tuple(sorted(new)) or latest
        seen |= classes
    return quiet, latest


def assess(
    rounds: Sequence[Mapping[str, int]],
    verified_labels: Mapping[str, int],
    *,
    force_rmse: float | None,
    occupation_rmse: float | None,
    labels_spent: int = 0,
    node_hours_spent: float = 0.0,
    limits: Limits | None = None,
) -> Convergence:
    """Judge a study after its latest exploration.

    `rounds`: class -> hops, one mapping per exploration, oldest first. `verified_labels`: class -> labels on its hop
    frames whose carrier stayed where it was asked. `force_rmse` (eV/Angstrom) and `occupation_rmse` (e): errors of
    the latest model on labelled hop frames it was not trained on, None when there is none yet.
    """
    limits = limits or Limits()
    counts: Counter = Counter()
    for found in rounds:
        counts.update(found)
    seen = [name for name, n in counts.items() if n]
    n_hops = sum(counts.values())
    quiet, latest = quiet_rounds(rounds)
    fewest = min((verified_labels.get(name, 0) for name in seen), default=0)
    lacking = sorted(name for name in seen if verified_labels.get(name, 0) < limits.labels_per_class)
    science = (
        _at_least("quiet_rounds", quiet, limits.quiet_rounds, f"last new: {', '.join(latest)}" if latest else ""),
        _at_most("unseen_mass", good_turing(counts), limits.unseen_mass, f"{len(seen)} classes, {n_hops} hops"),
        _at_least("labels_per_class", fewest, limits.labels_per_class, ", ".join(lacking)),
        _at_most("force_rmse", force_rmse, limits.max_force_rmse, "eV/Angstrom on hop frames"),
        _at_most("occupation_rmse", occupation_rmse, limits.max_occupation_rmse, "e on hop frames"),
        _at_least("hops", n_hops, limits.min_hops, ""),
    )
    budget = tuple(
        _at_most(name, spent, limit, "spent")
        for name, spent, limit in (
            ("labels", labels_spent, limits.max_labels),
            ("node_hours", node_hours_spent, limits.max_node_hours),
        )
        if limit is not None
    )
    failed = [c.name for c in science if not c.passed]
    if not failed:
        state = "converged"
    elif all(c.passed for c in budget):
        state = "continue"
    else:
        state = "too_few_hops" if "hops" in failed else "budget_exhausted"
    return Convergence((*science, *budget), state, _next_step(failed, lacking, state, limits, n_hops))


_STEPS = {
    "hops": "raise the temperature or the length of the exploration: {n_hops} hops of {min_hops} needed",
    "labels_per_class": "label hop frames of {lacking}",
    "quiet_rounds": "train on the new labels and explore again",
    "unseen_mass": "explore longer: too large a share of the hops is in classes seen once",
    "force_rmse": "label more frames along hops and retrain: forces there are not good enough",
    "occupation_rmse": "label more frames along hops and retrain: occupations there are not good enough",
}


def _next_step(failed: list[str], lacking: list[str], state: str, limits: Limits, n_hops: int) -> str:
    if not failed:
        return "run production dynamics"
    first = next(name for name in _STEPS if name in failed)
    step = _STEPS[first].format(n_hops=n_hops, min_hops=limits.min_hops, lacking=", ".join(lacking))
    return step if state == "continue" else f"give a larger budget, then {step}"


def _at_least(name: str, value: float, threshold: float, detail: str) -> Criterion:
    return Criterion(name, value, threshold, ">=", value >= threshold, detail)


def _at_most(name: str, value: float | None, threshold: float, detail: str) -> Criterion:
    return Criterion(name, value, threshold, "<=", value is not None and value <= threshold, detail)
