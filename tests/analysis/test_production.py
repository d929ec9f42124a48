"""How long production has to run for a number of hops, and the activation energy of walks that have one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leopold_model.analysis.production import steps_for_hops, transport_summary

from .crystals import host, rutile
from .walks import thermal

CHAIN, DIAGONAL = "Ti-Ti 2.96 A [001] x2", "Ti-Ti 3.57 A <111> x8"


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


def test_activation_energies_lie_in_their_intervals(repeats=60):
    """Of D, of mu (lower by about k_B T) and of the rate of a class, from walks at three temperatures: 95 % intervals
    (binomial 99.9 % bounds), as wide as the estimates scatter."""
    crystal, energy, temperatures = host(rutile(), "Ti"), 0.1, (400.0, 600.0, 900.0)
    inside = {"arrhenius": 0, "arrhenius_rates": 0}
    for seed in range(repeats):
        walks = thermal(crystal, 4.0, {CHAIN: 2e-2, DIAGONAL: 1e-2}, energy, temperatures, n_hops=100, seed=seed)
        found = transport_summary(walks, seed=seed, n_samples=200)
        fits = {"arrhenius": found["arrhenius"], "arrhenius_rates": found["arrhenius_rates"][CHAIN]}
        for name, line in fits.items():
            inside[name] += line["energy_eV"]["low"] < energy < line["energy_eV"]["high"]
    assert all(0.85 <= n / repeats <= 1 for n in inside.values()), inside
    half = (found["arrhenius"]["energy_eV"]["high"] - found["arrhenius"]["energy_eV"]["low"]) / 2
    assert 0.01 < half < 0.03, "a hundred hops at each temperature tell 100 meV to 8 meV (1 sigma), no better"
    lower = found["arrhenius"]["energy_eV"]["value"] - found["arrhenius_mobility"]["energy_eV"]["value"]
    assert lower == pytest.approx(0.05, abs=0.02)
    assert [found[name]["quantity"] for name in ("arrhenius", "arrhenius_mobility")] == ["ln D", "ln mu"]
