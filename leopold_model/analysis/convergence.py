"""When learning may stop: every criterion with its value, its threshold and its verdict.

That no new pathway appears is not enough: a run too short or too cold says the same. So a study has converged when
explorations bring no class that lacks labels, AND few hops fall in classes seen once (Good-Turing), AND every seen
class has verified labels, AND the model is right on frames along hops, AND its dynamics is stable, AND there were
enough hops to tell. A budget of labels and node-hours ends it otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """Thresholds. Explorations in a row that asked for no label; Good-Turing unseen mass; verified labels per seen
    class; hops in all; share of replicas that a guard stopped; forces in eV/Angstrom and occupations in e on hop frames
    (root mean square); labels and node-hours to spend, None for no limit."""

    quiet_rounds: int = 2
    max_unseen_mass: float = 0.05
    min_verified: int = 1
    min_hops: int = 20
    max_stopped: float = 0.1
    max_force_rmse: float = 0.10
    max_occupation_rmse: float = 0.05
    max_labels: int | None = None
    max_node_hours: float | None = None


@dataclass(frozen=True)
class Standing:
    """What is known after an exploration.

    `hops` class -> hops with the newest model, `verified` class -> labels whose carrier stayed where it was asked to
    be; `given_up` the classes for which no further label is asked; `quiet` explorations in a row that asked for none.
    `force_rmse` (eV/Angstrom) and `occupation_rmse` (e) are errors on hop frames the model was not trained on, None
    when there are none. `stopped` is the share of the replicas of the exploration that a guard stopped. `labels` and
    `node_hours` were spent so far; `untrained`: labels wait to be trained on.
    """

    hops: Mapping[str, int]
    verified: Mapping[str, int]
    given_up: tuple[str, ...] = ()
    quiet: int = 0
    force_rmse: float | None = None
    occupation_rmse: float | None = None
    stopped: float = 0.0
    labels: int = 0
    node_hours: float = 0.0
    untrained: bool = False

    def lacking(self, least: int) -> tuple[str, ...]:
        """Classes seen that have fewer than `least` verified labels and may still get some."""
        seen = sorted(name for name, n in self.hops.items() if n)
        return tuple(name for name in seen if self.verified.get(name, 0) < least and name not in self.given_up)


@dataclass(frozen=True)
class Criterion:
    """One requirement: `passed` compares `value` with `threshold` as `rule` says; `detail` names what is missing.
    Without a value it is not met; without a threshold it is."""

    name: str
    value: float | None
    threshold: float | None
    rule: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Convergence:
    """`criteria` of one round, then the `budget`; `state` is 'converged', 'continue', 'too_few_hops' or
    'budget_exhausted'; `next_step` in words."""

    criteria: tuple[Criterion, ...]
    budget: tuple[Criterion, ...]
    state: str
    next_step: str

    @property
    def converged(self) -> bool:
        """Whether learning may stop. A spent budget does not undo convergence."""
        return self.state == "converged"

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the criteria that are not met, the budget aside."""
        return tuple(c.name for c in self.criteria if not c.passed)

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "state": self.state,
            "converged": self.converged,
            "failing": list(self.failing),
            "next_step": self.next_step,
            "criteria": [asdict(c) for c in (*self.criteria, *self.budget)],
        }


def good_turing(counts: Mapping[str, int]) -> float:
    """Estimated probability that the next hop is of a class never seen: classes seen once over hops (Good, Biometrika
    40, 237, 1953). 1 without hops."""
    total = sum(counts.values())
    return sum(n == 1 for n in counts.values()) / total if total else 1.0


def quiet_rounds(before: int, hops: Mapping[str, int], asked: bool) -> int:
    """Explorations in a row that brought no class to be labelled, after one more that saw `hops` and, if `asked`,
    called for labels, whatever they answered. One without any hop is not quiet but blind: it counts for nothing."""
    return 0 if asked else before + any(hops.values())


def assess(found: Standing, limits: Limits | None = None) -> Convergence:
    """Judge a study after its latest exploration."""
    limits = limits or Limits()
    seen = [name for name, n in found.hops.items() if n]
    n_hops = sum(found.hops.values())
    lacking = found.lacking(limits.min_verified)
    short = sorted({*lacking, *(name for name in found.given_up if name in seen)})
    fewest = min((found.verified.get(name, 0) for name in seen), default=0)
    criteria = (
        _judged(
            "quiet_rounds", found.quiet, ">=", limits.quiet_rounds, "explorations in a row that asked for no label"
        ),
        _judged("labels_per_class", fewest, ">=", limits.min_verified, ", ".join(short)),
        _judged("hops", n_hops, ">=", limits.min_hops, "with the newest model"),
        _judged("unseen_mass", good_turing(found.hops), "<=", limits.max_unseen_mass, f"{len(seen)} classes"),
        _judged("stopped", found.stopped, "<=", limits.max_stopped, "share of the replicas stopped by a guard"),
        _judged("force_rmse", found.force_rmse, "<=", limits.max_force_rmse, "eV/Angstrom on hop frames"),
        _judged("occupation_rmse", found.occupation_rmse, "<=", limits.max_occupation_rmse, "e on hop frames"),
    )
    labels = _judged("labels", found.labels, "<", limits.max_labels, "budget")
    node_hours = _judged("node_hours", found.node_hours, "<", limits.max_node_hours, "budget")
    failing = [c.name for c in criteria if not c.passed]
    # labels are no longer asked for, which ends it only if there is nothing else left to do
    wanted = bool(lacking) or "stopped" in failing
    spent = not node_hours.passed or (not labels.passed and wanted and not found.untrained)
    if not failing and not found.untrained:
        state = "converged"
    elif not spent:
        state = "continue"
    else:
        state = "too_few_hops" if "hops" in failing else "budget_exhausted"
    step = _next_step(failing, short, n_hops, found.stopped, limits)
    larger = " and ".join(f"max_{c.name}" for c in (labels, node_hours) if not c.passed)
    next_step = f"raise {larger}, then {step}" if spent and state != "converged" else step
    return Convergence(criteria, (labels, node_hours), state, next_step)


# the most fundamental first: what the others say of a run without hops means little
_STEPS = {
    "stopped": "label the frames before the stops and retrain: guards stopped {stopped:.0%} of the replicas",
    "hops": "raise the temperatures, steps or replicas of the exploration: {n_hops} of {min_hops} hops",
    "labels_per_class": "label hop frames of {short}",
    "force_rmse": "label more frames along hops and retrain: forces there are not good enough",
    "occupation_rmse": "label more frames along hops and retrain: occupations there are not good enough",
    "unseen_mass": "explore longer: too large a share of the hops is in classes seen once",
    "quiet_rounds": "train on the new labels and explore again",
}


def _next_step(failing: list[str], short: list[str], n_hops: int, stopped: float, limits: Limits) -> str:
    first = next((name for name in _STEPS if name in failing), None)
    if first is None:
        return "run production dynamics"
    return _STEPS[first].format(n_hops=n_hops, min_hops=limits.min_hops, stopped=stopped, short=", ".join(short))


def _judged(name: str, value: float | None, rule: str, threshold: float | None, detail: str) -> Criterion:
    if value is None or threshold is None:
        passed = threshold is None
    else:
        passed = {">=": value >= threshold, "<=": value <= threshold, "<": value < threshold}[rule]
    return Criterion(name, value, threshold, rule, passed, detail)
