"""Every stopping criterion, on its own and together."""

from dataclasses import replace

import pytest

from leopold_model.analysis.convergence import Limits, Standing, assess, good_turing, quiet_rounds

SETTLED = Standing({"a": 30, "b": 5}, {"a": 3, "b": 1}, quiet=2, force_rmse=0.04, occupation_rmse=0.01)


def test_good_turing():
    assert good_turing({"a": 10, "b": 1, "c": 1, "d": 8}) == 0.1
    assert good_turing({"a": 10, "b": 0}) == 0.0
    assert good_turing({}) == 1.0


def test_quiet_rounds():
    assert quiet_rounds(1, {"a": 3}, asked=False) == 2
    assert quiet_rounds(1, {"a": 3, "b": 1}, asked=True) == 0
    assert quiet_rounds(1, {"a": 0}, asked=False) == 1, "an exploration without hops says nothing"


def test_all_criteria_met():
    found = assess(SETTLED)
    assert found.converged and not found.failing
    assert found.next_step == "run production dynamics"
    table = {c["name"]: c for c in found.to_dict()["criteria"]}
    assert set(table) == {
        "quiet_rounds", "unseen_mass", "labels_per_class", "force_rmse", "occupation_rmse", "hops", "stopped",
        "labels", "node_hours",
    }  # fmt: skip
    assert all(c["passed"] for c in table.values())


@pytest.mark.parametrize(
    ("change", "name", "step"),
    [
        ({"quiet": 1}, "quiet_rounds", "explore again"),
        ({"hops": {"a": 20, "b": 1, "c": 1}, "verified": dict.fromkeys("abc", 1)}, "unseen_mass", "explore longer"),
        ({"verified": {"a": 2}}, "labels_per_class", "label hop frames of b"),
        ({"verified": {"a": 2}, "given_up": ("b",)}, "labels_per_class", "label hop frames of b"),
        ({"force_rmse": 0.2}, "force_rmse", "forces there"),
        ({"occupation_rmse": None}, "occupation_rmse", "occupations there"),
        ({"hops": {"a": 9}}, "hops", "9 of 20 hops"),
        ({"stopped": 0.25}, "stopped", "guards stopped 25% of the replicas"),
    ],
)
def test_each_criterion_alone_blocks(change, name, step):
    found = assess(replace(SETTLED, **change))
    assert found.failing == (name,)
    assert found.state == "continue"
    assert step in found.next_step


def test_out_of_budget():
    limits = Limits(max_labels=10, max_node_hours=5)
    lacking = replace(SETTLED, verified={"a": 1})
    spent = assess(replace(lacking, labels=10), limits)
    assert (spent.state, spent.next_step) == ("budget_exhausted", "raise max_labels, then label hop frames of b")
    unstable = assess(replace(SETTLED, stopped=0.5, labels=10), limits)
    assert unstable.state == "budget_exhausted", "no label can mend it any more"
    assert assess(replace(lacking, labels=10, untrained=True), limits).state == "continue", "they are trained on first"
    assert assess(replace(SETTLED, labels=10, quiet=1), limits).state == "continue", "no class asks for labels"
    late = assess(replace(SETTLED, quiet=1, node_hours=6.0), limits)
    assert (late.state, late.next_step) == (
        "budget_exhausted", "raise max_node_hours, then train on the new labels and explore again",
    )  # fmt: skip
    cold = assess(replace(SETTLED, hops={"a": 2}, node_hours=6.0), limits)
    assert cold.state == "too_few_hops" and "raise the temperatures" in cold.next_step
    assert assess(replace(SETTLED, labels=11), limits).converged, "a spent budget does not undo convergence"


def test_labels_that_wait_for_training_keep_it_going():
    assert assess(replace(SETTLED, untrained=True)).state == "continue"


def test_no_hop_at_all():
    found = assess(Standing({}, {}))
    assert not found.converged
    assert "raise the temperatures" in found.next_step
    assert {c.name: c.passed for c in found.criteria}["unseen_mass"] is False
