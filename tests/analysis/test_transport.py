"""Diffusion, mobility and activation energies of walks whose answers are known exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.arrhenius import fit
from leopold_model.analysis.msd import Estimate, Walk, msd, samples_around, short_lag_diffusion, symmetrised
from leopold_model.analysis.pathways import enumerate_pathways
from leopold_model.analysis.sites import Host
from leopold_model.analysis.transport import (
    BOLTZMANN,
    along,
    diffusion_from_rates,
    principal,
    transport,
    walks,
)

from .crystals import host, mgo, rutile
from .walks import catalogue

NEAREST = "O-O 2.97 A <110> x12"
CHAIN, DIAGONAL = "Ti-Ti 2.96 A [001] x2", "Ti-Ti 3.57 A <111> x8"


def test_fft_msd_equals_the_double_loop():
    x = np.cumsum(np.random.default_rng(0).normal(size=(60, 3)), axis=0)
    found = msd(x, 25)
    for lag in (0, 1, 7, 24):
        d = x[lag:] - x[: len(x) - lag]
        assert np.allclose(found[lag], np.einsum("ta,tb->ab", d, d) / len(d))


def test_walk_is_sampled_where_it_is():
    walk = Walk(np.array([10.0, 25.0]), np.array([[1.0, 0, 0], [0, 2.0, 0]]), 40.0)
    assert np.array_equal(walk.positions(5.0)[:, 0], [0, 0, 1, 1, 1, 1, 1, 1])
    assert np.array_equal(walk.positions(5.0)[:, 1], [0, 0, 0, 0, 0, 2, 2, 2])
    first, second = walk.blocks(2)
    assert (first.times.tolist(), second.times.tolist()) == ([10.0], [5.0])


def test_rates_of_equivalent_sites_give_half_the_sum():
    classes = enumerate_pathways(host(rutile(), "Ti"), 4.0)
    rates = {(CHAIN, 0): 4e-3, (DIAGONAL, 0): 1e-3}
    expected = 0.5 * sum(rate * classes.by_name[name].tensor for (name, _), rate in rates.items())
    assert np.allclose(diffusion_from_rates(classes, rates), expected)
    assert np.allclose(diffusion_from_rates(enumerate_pathways(host(mgo(), "O"), 3.5), {(NEAREST, 0): 1e-3}),
                       np.eye(3) * 1e-3 * (4.2 / np.sqrt(2)) ** 2 / 6)  # fmt: skip


def dimer_chain(a=4.0, x=0.4):
    """Sites at 0 and x along z: alternating bonds of length x a and (1 - x) a; equivalent sites without inversion."""
    return Host(np.diag([20.0, 20.0, a]), np.array([[0, 0, 0], [0, 0, x]]), np.array([22, 22]), "Ti")


def test_alternating_chain_is_limited_by_its_slow_bond():
    """Bonds in series: an even chain of spacing a / 2 with the harmonic mean of w1 and w2, D = a^2 / (2 (1/w1 +
    1/w2))."""
    h = dimer_chain()
    classes = enumerate_pathways(h, 2.5)
    short, long = classes.names
    w1, w2 = 5e-3, 1e-3
    tensor = diffusion_from_rates(classes, {(short, 0): w1, (long, 0): w2})
    assert tensor[2, 2] == pytest.approx(16.0 / (2 / w1 + 2 / w2))
    uncorrelated = 0.5 * (w1 * 1.6**2 + w2 * 2.4**2)
    assert tensor[2, 2] < uncorrelated
    assert np.allclose(tensor[:2], 0)


def test_inequivalent_sites_need_their_occupation():
    """A deep and a shallow site alternate on a chain of period a: exact D = a^2 / 2 times the rate of full
    periods."""
    h = Host(np.diag([20.0, 20.0, 4.0]), np.array([[0, 0, 0], [0, 0, 0.5]]), np.array([22, 22]), "Ti")
    # an atom beside one of them makes the two Ti inequivalent
    h = Host(h.lattice, np.vstack([h.basis, [0.1, 0, 0]]), np.array([22, 22, 8]), "Ti")
    classes = enumerate_pathways(h, 2.1)
    (name,) = classes.names
    assert len(set(classes.site_kinds.values())) == 2
    out, back = 1e-3, 9e-3  # total rates from the deep and from the shallow site
    tensor = diffusion_from_rates(classes, {(name, 0): out, (name, 1): back})
    # hops of 2 A each, at the mean rate 2 / (1/out + 1/back), directions independent
    assert tensor[2, 2] == pytest.approx(0.5 * 4.0 * 2 / (1 / out + 1 / back))


def test_interval_covers_the_known_diffusion(n_hops=200, repeats=200):
    """95 % intervals of both routes hold the exact D in about 95 % of repeats (binomial 99.9 % bounds)."""
    h = host(mgo(), "O")
    rate, replicas = 2e-3, 8
    exact = rate * (4.2 / np.sqrt(2)) ** 2 / 6
    inside = {"rates": 0, "msd": 0}
    scatter = {"rates": [], "msd": []}
    for seed in range(repeats):
        c = catalogue(h, 3.5, {NEAREST: rate}, duration=n_hops / rate / replicas, replicas=replicas, seed=seed)
        found = transport(c, 600.0, seed=seed, n_samples=400)
        assert found.msd is not None
        for name, estimate in (("rates", found.diffusion.isotropic), ("msd", found.msd.diffusion.isotropic)):
            low, high = estimate.interval()
            inside[name] += bool(low <= exact <= high)
            scatter[name].append(float(estimate.value) / exact)
    for name in inside:
        assert 0.89 <= inside[name] / repeats <= 0.995, f"{name}: {inside[name]} of {repeats}"
        assert np.mean(scatter[name]) == pytest.approx(1.0, abs=0.03)
    assert np.std(scatter["rates"]) == pytest.approx(1 / np.sqrt(n_hops), rel=0.25), "counting scatters as 1/sqrt(N)"


@pytest.mark.parametrize("freedom", [6, 30])
def test_interval_of_few_pieces_is_calibrated(freedom, pieces=8, repeats=2000):
    """Slopes of pieces that scatter like chi^2, as sums of squared displacements do: the interval of their mean holds
    the truth in 95 % of many more repeats than walks can be made (99.9 % bounds: 1.6 %)."""
    rng = np.random.default_rng(5)
    missed = {"low": 0, "high": 0}
    for seed in range(repeats):
        slopes = rng.chisquare(freedom, size=pieces)[:, None, None, None] / freedom * np.eye(3)
        mean, weights = slopes.mean(axis=0), np.ones(pieces)
        found = samples_around(mean, slopes, weights, n_samples=400, seed=seed)
        low, high = np.quantile(np.trace(found[:, 0], axis1=1, axis2=2) / 3, (0.025, 0.975))
        missed["low"] += bool(high < 1)
        missed["high"] += bool(low > 1)
    assert (missed["low"] + missed["high"]) / repeats == pytest.approx(0.05, abs=0.016), missed
    assert all(0.008 < n / repeats < 0.045 for n in missed.values()), f"one tail holds most of the misses: {missed}"


@pytest.mark.parametrize("reverse", [0.3, 0.5])
def test_correlation_factor_of_a_walk_that_turns_back(reverse):
    """A hop that undoes the last with probability p, else random: <cos> = -p, f = (1 - p) / (1 + p)."""
    exact = (1 - reverse) / (1 + reverse)
    found = []
    for seed in range(12):
        c = catalogue(host(mgo(), "O"), 3.5, {NEAREST: 4e-3}, duration=8e4, seed=seed, reverse=reverse)
        found.append(short_lag_diffusion(walks(c, 600.0), seed=seed, n_samples=200))
    values = np.array([float(f.correlation.value) for f in found])
    # what memory is left at the first lag, two dwell times, raises the slope by e^{-2 (1 + p)} (1 / f - 1) at most
    left = exact * np.exp(-2 * (1 + reverse)) * (1 / exact - 1)
    assert -3 * values.std() / 12**0.5 < values.mean() - exact < left + 3 * values.std() / 12**0.5
    intervals = [f.correlation.interval() for f in found]
    assert sum(low < exact < high for low, high in intervals) >= 9
    assert all(high < 1 for _, high in intervals), "the memory must be seen"
    assert sum(f.plateau for f in found) >= 8


def test_anisotropic_walk_and_its_axes():
    h = host(rutile(), "Ti")
    c = catalogue(h, 4.0, {CHAIN: 4e-3, DIAGONAL: 1e-4}, duration=1e5, seed=2)
    found = transport(c, 600.0)
    exact = diffusion_from_rates(c.classes, {(CHAIN, 0): 4e-3, (DIAGONAL, 0): 1e-4})
    low, high = found.diffusion.interval()
    assert np.all((low <= exact + 1e-12) & (exact <= high + 1e-12))
    axes = principal(found.diffusion)
    assert np.abs(axes["axes"][0]) == pytest.approx([0, 0, 1])
    low, high = axes["anisotropy_interval"]
    assert 20 < low < exact[2, 2] / exact[0, 0] < high
    assert found.msd is not None
    assert np.allclose(found.msd.diffusion.value, symmetrised(found.msd.diffusion.value, h.point_group))
    assert principal(found.msd.diffusion)["values"][1] == pytest.approx(principal(found.msd.diffusion)["values"][2])
    assert along(found.diffusion.value, [[0, 0, 2], [1, 0, 0]]) == pytest.approx(
        [found.diffusion.value[2, 2], found.diffusion.value[0, 0]]
    )
    raw = np.mean([np.einsum("ha,hb->ab", w.steps, w.steps) / (2 * w.duration) for w in walks(c, 600.0)], axis=0)
    assert np.allclose(symmetrised(raw, h.point_group), found.diffusion.value, rtol=1e-6)


def test_mobility_units():
    """D = 1 cm^2/s at 300 K is 38.68 cm^2/(V s): Einstein's relation by hand."""
    c = catalogue(host(mgo(), "O"), 3.5, {NEAREST: 2e-3}, duration=1e5, temperature=300.0)
    found = transport(c, 300.0)
    d = found.to_dict()
    assert d["mobility_isotropic_cm2_per_Vs"]["value"] == pytest.approx(
        d["diffusion_isotropic_cm2_per_s"]["value"] * 38.68, rel=1e-3
    )
    # 2 hops per ps of 2.97 A: D = 2e12 (2.97e-8)^2 / 6 cm^2/s
    assert d["diffusion_isotropic_cm2_per_s"]["value"] == pytest.approx(2e12 * (2.97e-8) ** 2 / 6, rel=0.2)


def test_no_hop_is_an_upper_limit():
    c = catalogue(host(mgo(), "O"), 3.5, {NEAREST: 1e-12}, duration=1e4)
    found = transport(c, 600.0)
    assert found.n_hops == 0
    assert np.array_equal(found.diffusion.value, np.zeros((3, 3)))
    limit = 3.0 / 8e4 * (4.2 / np.sqrt(2)) ** 2 / 6
    low, high = found.diffusion.isotropic.interval()
    assert low == 0 and high == pytest.approx(limit * 3.69 / 3.0, rel=0.15)
    assert found.msd is None
    assert "no hop" in found.msd_missing
    assert found.to_dict()["msd"] == found.msd_missing


def test_too_short_for_an_msd_is_said():
    c = catalogue(host(mgo(), "O"), 3.5, {NEAREST: 2e-3}, duration=3e3, replicas=2, seed=3)
    assert "too short" in transport(c, 600.0).msd_missing


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_time_reversal_keeps_the_diffusion(seed):
    (forward,) = walks(catalogue(host(mgo(), "O"), 3.5, {NEAREST: 4e-3}, duration=6e4, replicas=1, seed=seed), 600.0)
    backward = Walk(forward.duration - forward.times[::-1], -forward.steps[::-1], forward.duration)
    a, b = (short_lag_diffusion([w], n_samples=50) for w in (forward, backward))
    # hops fall between other points of the grid when time runs backward
    assert np.allclose(a.diffusion.value, b.diffusion.value, atol=0.04 * np.trace(a.diffusion.value))
    assert np.allclose(a.uncorrelated.value, b.uncorrelated.value)


# ------------------------------------------------------------------------------------ activation energies


def estimates(temperatures, energy, error=0.08, curvature=0.0, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for t in temperatures:
        beta = 1 / (BOLTZMANN * t)
        y = np.exp(-energy * beta + curvature * beta**2 + 2 + error * rng.normal())
        found.append(Estimate(np.asarray(y), y * np.exp(error * rng.normal(size=400))))
    return found


def test_arrhenius_recovers_energy_with_its_error():
    temperatures = (300.0, 450.0, 600.0, 900.0)
    inside = 0
    for seed in range(200):
        found = fit(temperatures, estimates(temperatures, 0.12, seed=seed), "D")
        low, high = found.energy.interval()
        inside += bool(low < 0.12 < high)
    assert 0.89 <= inside / 200 <= 0.99
    assert found.covariance[0, 1] > 0, "energy and prefactor go together"
    assert found.to_dict()["quantity"] == "ln D"


def test_arrhenius_of_mu_differs_from_d_by_kt():
    temperatures = (500.0, 550.0, 600.0, 650.0)
    d = estimates(temperatures, 0.1, error=1e-3)
    mu = [Estimate(e.value / t, e.samples / t) for e, t in zip(d, temperatures, strict=True)]
    gap = float(fit(temperatures, d, "D").energy.value - fit(temperatures, mu, "mu").energy.value)
    assert gap == pytest.approx(BOLTZMANN * 570, rel=0.03)


def test_curvature_is_tested_from_four_temperatures_on():
    temperatures = (300.0, 400.0, 600.0, 900.0)
    assert fit(temperatures[:3], estimates(temperatures[:3], 0.1), "D").curved is None
    assert fit(temperatures, estimates(temperatures, 0.1, error=0.02), "D").curved is False
    assert fit(temperatures, estimates(temperatures, 0.25, error=0.02, curvature=2e-3), "D").curved is True


def test_arrhenius_needs_two_temperatures_with_hops():
    none = Estimate(np.asarray(0.0), np.zeros(400))
    with pytest.raises(AnalysisError, match="hops at 1 of 300, 600 K"):
        fit((300.0, 600.0), [none, *estimates((600.0,), 0.1)], "D")
    found = fit((300.0, 600.0, 900.0), [none, *estimates((600.0, 900.0), 0.1)], "D")
    assert found.left_out == (300.0,)
    with pytest.raises(AnalysisError, match="quantity = 'x'"):
        fit((600.0, 900.0), estimates((600.0, 900.0), 0.1), "x")
