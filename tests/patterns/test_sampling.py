"""Chains against exact enumeration, restarts against runs that never stopped."""

import numpy as np
import pytest
from ase.units import kB
from scipy.stats import chisquare

from leopold_model.patterns import PatternError
from leopold_model.patterns.annealing import AnnealConfig, anneal, read_patterns, start
from leopold_model.patterns.composition import Composition, all_configurations, random_configuration
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.sampling import Sampler
from tests.patterns.random_models import random_model

TIO2 = load_lattice("tio2_110")
SMALL = TIO2.supercell("3x2")
ONE = Composition(TIO2.lattice, {"VO": 1, "polaron": 2})


@pytest.fixture(scope="module")
def model():
    """Energies of the 396 configurations spread over 0.7 eV: a wrong temperature of 5 % shows."""
    return random_model(TIO2, DescriptorConfig(kind="free", cutoff=5.0), seed=3, scale=0.35)


@pytest.fixture(scope="module")
def exact(model):
    everything = all_configurations(SMALL, ONE)
    return everything, model.energies(SMALL, everything)[0]


def boltzmann(energies, temperature):
    weight = np.exp(-(energies - energies.min()) / (kB * temperature))
    return weight / weight.sum()


def frequencies(everything, samples):
    index = {row.tobytes(): k for k, row in enumerate(everything)}
    return np.bincount([index[row.tobytes()] for row in samples], minlength=len(everything))


def p_value(counts, expected):
    """Chi-squared over states, the rarest of which are pooled."""
    rare = expected * counts.sum() < 8
    pooled = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    keep = pooled[1] * counts.sum() > 0.5
    return chisquare(pooled[0][keep], pooled[1][keep] / pooled[1][keep].sum() * pooled[0][keep].sum()).pvalue


@pytest.mark.parametrize(
    ("temperature", "coupled", "reach"),
    [(1000.0, 0.0, {}), (1600.0, 0.2, {"polaron": (1, 1, 1), "VO": (2, 1, 0)})],
)
def test_chains_visit_states_as_often_as_boltzmann_says(model, exact, temperature, coupled, reach):  # T2
    everything, energies = exact
    chain = Sampler(model, SMALL, coupled=coupled, reach=reach).chain(everything[0], seed=1)
    chain.run(temperature, 2000)
    samples = chain.sample(temperature, 3000, every=150)
    assert p_value(frequencies(everything, samples), boltzmann(energies, temperature)) > 0.01


def test_tempering_gives_the_canonical_distribution_at_every_temperature(model, exact):  # T2
    everything, energies = exact
    ladder = (1000.0, 1300.0, 1800.0)
    config = AnnealConfig(ladder=ladder, moves=160_000, blocks=1600, seed=2)
    run = start(Sampler(model, SMALL), ONE, config)
    samples = []
    for _ in range(config.blocks):
        run.block(1)
        samples.append(run.last)
    found = np.array(samples)[100:]
    for k, temperature in enumerate(ladder):
        p = p_value(frequencies(everything, found[:, k]), boltzmann(energies, temperature))
        assert p > 0.01 / len(ladder), temperature
    assert (run.exchanged / run.offered > 0.2).all()


def test_incremental_energies_stay_those_of_the_whole(model):  # T1
    for size, seed, n_moves in (("6x4", 0, 100_000), ("12x2", 1, 10_000)):
        cell = TIO2.supercell(size)
        occupations = random_configuration(cell, TIO2.composition(size), np.random.default_rng(seed))
        chain = Sampler(random_model(TIO2), cell, coupled=0.1).chain(occupations, seed)
        chain.run(4000.0, n_moves)
        assert chain.accepted > n_moves / 10
        whole = chain.sampler.model.predict(cell, np.array([chain.occupations, chain.best]))[0]
        np.testing.assert_allclose([chain.energy, chain.best_energy], whole, atol=1e-5)
        assert chain.best_energy <= chain.energy


@pytest.mark.parametrize(
    ("name", "size", "config"),
    [
        ("srtio3_001", "4x4", DescriptorConfig(kind="free", cutoff=7.0)),  # two species on one sublattice
        ("rutile_f", "2x2x3", DescriptorConfig(kind="free", cutoff=5.0)),
    ],
)
def test_other_lattices_move_as_well(name, size, config):
    instance = load_lattice(name)
    cell = instance.supercell(size)
    model = random_model(instance, config)
    occupations = random_configuration(cell, instance.composition(size), np.random.default_rng(0))
    chain = Sampler(model, cell, coupled=0.2).chain(occupations, 0).run(3000.0, 20_000)
    assert chain.energy == pytest.approx(model.predict(cell, chain.occupations)[0][0], abs=1e-5)
    cell.check(chain.occupations)
    np.testing.assert_array_equal(np.bincount(chain.occupations), np.bincount(occupations))


@pytest.mark.parametrize(
    ("explore", "reach", "unchanged"),
    [
        ("layers", {}, lambda cell, o: [(o[cell.labels == label] == 1).sum() for label in ("S0A", "S1A")]),
        ("carriers", {}, lambda cell, o: np.flatnonzero(o == 2).tolist()),
        ("all", {"VO": (1, 0, 0)}, lambda cell, o: (o.reshape(6, 4, 3)[..., 2] > 0).sum(axis=0).tolist()),
        ("all", {"VO": (0, 0, 0)}, lambda cell, o: np.flatnonzero(o == 2).tolist()),
    ],
)
def test_exploration_keeps_what_it_should(explore, reach, unchanged):
    cell = TIO2.supercell("6x4")
    occupations = random_configuration(cell, TIO2.composition("6x4"), np.random.default_rng(4))
    sampler = Sampler(random_model(TIO2), cell, explore=explore, reach=reach, coupled=0.3)
    chain = sampler.chain(occupations, 0).run(1e5, 3000)
    assert unchanged(cell, chain.occupations) == unchanged(cell, occupations)
    assert (chain.occupations != occupations).any()
    free = Sampler(random_model(TIO2), cell).chain(occupations, 0).run(1e5, 3000)
    assert unchanged(cell, free.occupations) != unchanged(cell, occupations)


@pytest.mark.parametrize("ladder", [(), (800.0, 1200.0, 2000.0)])
def test_a_run_that_stopped_ends_as_one_that_did_not(tmp_path, monkeypatch, ladder):
    cell = TIO2.supercell("6x4")
    sampler = Sampler(random_model(TIO2), cell, coupled=0.1)
    config = AnnealConfig(
        temperature=500, start_temperature=3000, ladder=ladder, moves=6000, blocks=6, chains=3, seed=7
    )
    composition = TIO2.composition("6x4")
    whole = anneal(sampler, composition, config, workers=2)
    monkeypatch.setattr("leopold_model.patterns.annealing.SAVE_EVERY", -1.0)

    def stop(done, _):
        if done == 4:  # the checkpoint of the third block is there, the fourth is lost
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anneal(sampler, composition, config, checkpoint=tmp_path / "run.h5", progress=stop)
    assert len(read_patterns(tmp_path / "run.h5").energies) == 3
    again = anneal(sampler, composition, config, checkpoint=tmp_path / "run.h5")
    np.testing.assert_array_equal(again.energies, whole.energies)
    np.testing.assert_array_equal(again.last, whole.last)
    np.testing.assert_array_equal(read_patterns(tmp_path / "run.h5").lowest, whole.lowest)
    with pytest.raises(PatternError, match="other config"):
        anneal(sampler, composition, config.model_copy(update={"seed": 8}), checkpoint=tmp_path / "run.h5")


def test_annealing_finds_the_ground_state(model, exact):
    _, energies = exact
    config = AnnealConfig(temperature=150, start_temperature=4000, moves=5000, blocks=20, chains=4)
    run = anneal(Sampler(model, SMALL), ONE, config)
    np.testing.assert_allclose(run.lowest_energies, energies.min(), atol=1e-5)
    assert run.summary()["lowest_energy_eV"] == pytest.approx(energies.min(), abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Sampler(random_model(TIO2), TIO2.supercell("4x1")), "too small"),
        (lambda m: Sampler(m, SMALL, coupled=1.0), "from 0 to below 1"),
        (lambda m: Sampler(m, SMALL, reach={"V": (1, 0, 0)}), "'V' is not among"),
        (lambda m: Sampler(m, SMALL).chain(np.zeros(SMALL.n_sites), 0), "nothing to sample"),
        (lambda m: Sampler(m, SMALL).chain(all_configurations(SMALL, ONE)[0], 0).run(0.0, 1), "temperature = 0"),
    ],
)
def test_bad_input_is_refused(model, make, message):
    with pytest.raises(PatternError, match=message):
        make(model)


def test_carriers_stay_where_chance_put_them_while_defects_move(model):
    rng = np.random.default_rng(5)
    start_at = random_configuration(SMALL, ONE, rng)
    polaron, vacancy = TIO2.lattice.code("polaron"), TIO2.lattice.code("VO")
    chain = Sampler(model, SMALL, explore="defects").chain(start_at, seed=1)
    samples = chain.sample(3000.0, 50, every=20)
    assert ((samples == polaron) == (start_at == polaron)).all()
    assert len(np.unique(samples == vacancy, axis=0)) > 3


def test_a_run_out_of_time_ends_as_one_that_was_never_stopped(model, tmp_path):
    config = AnnealConfig(temperature=900.0, moves=400, blocks=8, chains=2, seed=4)
    whole = anneal(Sampler(model, SMALL), ONE, config)
    path = tmp_path / "anneal.h5"
    rounds = 0
    while True:
        run = anneal(Sampler(model, SMALL), ONE, config, checkpoint=path, max_seconds=1e-9)
        rounds += 1
        if run.summary()["status"] == "finished":
            break
    assert rounds == 8
    np.testing.assert_array_equal(run.last, whole.last)
    np.testing.assert_array_equal(run.energies, whole.energies)
