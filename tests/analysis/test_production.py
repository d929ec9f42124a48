"""How long production has to run for a number of hops."""

from hypothesis import given
from hypothesis import strategies as st

from leopold_model.analysis.production import steps_for_hops


def test_each_temperature_goes_as_far_as_its_hops_promise():
    steps = steps_for_hops([0, 40, 100, 3], [1000] * 4, wanted=100, instalment=1000, most=10**6)
    # none: twice as far; 40 of 100: 2.5 times and a tenth, in whole instalments; enough: no further; 3: four times
    assert steps == (2000, 3000, 1000, 4000)


def test_the_budget_bounds_it():
    assert steps_for_hops([0, 5], [3000, 3000], wanted=100, instalment=1000, most=4500) == (4000, 4000)
    assert steps_for_hops([0], [4000], wanted=100, instalment=1000, most=4500) == (4000,), "no room for an instalment"


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 10**5))
def test_it_ends(count, instalments, most):
    """Whatever the hops, steps grow by whole instalments until there are enough or the budget is used."""
    done = 100 * instalments
    (target,) = steps_for_hops([count], [done], wanted=200, instalment=100, most=most)
    assert target >= done and (target - done) % 100 == 0 and target <= max(done, most)
    assert (target == done) == (count >= 200 or most - done < 100)
