"""Every stopping criterion, on its own and together."""

import pytest

from leopold_model.analysis.convergence import Limits, assess, good_turing, quiet_rounds

GOOD = {"force_rmse": 0.04, "occupation_rmse": 0.01}


def state(rounds, labels, **kwargs):
    return assess(rounds, labels, **{**GOOD, **kwargs})


def failed(found):
    return [c.name for c in found.criteria if not c.passed]


def test_good_turing():
    assert good_turing({"a": 10, "b": 1, "c": 1, "d": 8}) == 0.1
    assert good_turing({"a": 10, "b": 0}) == 0.0
    assert good_turing({}) == 1.0


def test_quiet_rounds():
    assert quiet_rounds([{"a": 3}]) == (0, ("a",))
    assert quiet_rounds([{"a": 3}, {"a": 1}, {"a": 2, "b": 0}]) == (2, ("a",))
    assert quiet_rounds([{"a": 3}, {"a": 1, "b": 2}, {"a": 4}]) == (1, ("b",))
    assert quiet_rounds([{"a": 3}, {}, {"a": 0}]) == (0, ("a",)), "an exploration without hops says nothing"


def test_all_criteria_met():
    found = state([{"a": 30, "b": 5}, {"a": 20}, {"a": 20, "b": 2}], {"a": 3, "b": 1})
    assert found.converged
    assert found.next_step == "run production dynamics"
    assert failed(found) == []
    assert {c["name"] for c in found.to_dict()["criteria"]} == {
        "quiet_rounds", "unseen_mass", "labels_per_class", "force_rmse", "occupation_rmse", "hops",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rounds", "labels", "kwargs", "name", "step"),
    [
        ([{"a": 30}, {"a": 30}], {"a": 2}, {}, "quiet_rounds", "explore again"),
        (
            [{"a": 12, **dict.fromkeys("bc", 1)}, {"a": 4}, {"a": 4}],
            dict.fromkeys("abc", 1),
            {},
            "unseen_mass",
            "explore longer",
        ),
        ([{"a": 30, "b": 5}, {"a": 30}, {"a": 30}], {"a": 2}, {}, "labels_per_class", "label hop frames of b"),
        ([{"a": 30}] * 3, {"a": 2}, {"force_rmse": 0.2}, "force_rmse", "forces there"),
        ([{"a": 30}] * 3, {"a": 2}, {"occupation_rmse": None}, "occupation_rmse", "occupations there"),
        ([{"a": 3}] * 3, {"a": 2}, {}, "hops", "9 hops of 20 needed"),
    ],
)
def test_each_criterion_alone_blocks(rounds, labels, kwargs, name, step):
    found = state(rounds, labels, **kwargs)
    assert failed(found) == [name]
    assert found.state == "continue"
    assert step in found.next_step


def test_out_of_budget():
    limits = Limits(max_labels=10, max_node_hours=5)
    rounds = [{"a": 30}, {"a": 30, "b": 9}]
    found = state(rounds, {"a": 1, "b": 1}, labels_spent=11, limits=limits)
    assert found.state == "budget_exhausted"
    assert "labels" in failed(found)
    assert found.next_step.startswith("give a larger budget")
    cold = state([{"a": 2}], {"a": 1}, node_hours_spent=6, limits=limits)
    assert cold.state == "too_few_hops"
    done = state([{"a": 30}] * 3, {"a": 1}, labels_spent=11, limits=limits)
    assert done.converged, "a spent budget does not undo convergence"


def test_no_hop_at_all():
    found = state([{}, {}], {}, force_rmse=None, occupation_rmse=None)
    assert not found.converged
    assert "raise the temperature" in found.next_step
