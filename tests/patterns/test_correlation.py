"""Correlation functions with known answers, and the pictures."""

import csv
from itertools import combinations

import numpy as np
import pytest

from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, random_configuration
from leopold_model.patterns.correlation import autocorrelation
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.sampling import Sampler
from leopold_model.plots import correlation_functions, pattern_map
from tests.patterns.random_models import random_model

TIO2 = load_lattice("tio2_110")


def row_repulsion(energy: float):
    """A model in which a vacancy costs `energy` eV per vacancy on the next sites of its row, and nothing else does."""
    model = random_model(TIO2, DescriptorConfig(kind="free", cutoff=3.5), scale=0.0)
    around = model.descriptor.surroundings[2]
    feature = around.weights[np.ix_(around.basis == 2, [1])].sum(axis=(0, 1))  # the two neighbours in the row
    assert feature.sum() == 2
    for layers in model.layers:
        for w, b in layers:
            w[:], b[:] = 0.0, 0.0
    (w1, _), (w2, _), (w3, _) = model.layers[2]
    w1[0, :, 0], w2[0, 0, 0], w3[0, 0, 0] = feature, 1.0, energy
    return model


def test_vacancies_that_do_not_interact_are_uncorrelated():  # T5
    cell = TIO2.supercell("12x6")
    composition = Composition(TIO2.lattice, {"VO": 12}, delocalised=24)
    chain = Sampler(row_repulsion(0.0), cell).chain(
        random_configuration(cell, composition, np.random.default_rng(0)), 1
    )
    samples = chain.sample(1000.0, 1500, every=200)
    found = autocorrelation(cell, samples, "Obr", "VO")
    finite = (12 - 1) / (72 - 1) / (12 / 72)  # a defect does not meet itself
    np.testing.assert_allclose(found.values[0, 1:], finite, atol=0.1)
    np.testing.assert_allclose(found.values[1], finite, atol=0.1)
    assert found.values[0, 0] == pytest.approx(6.0)
    assert np.abs((found.values[0, 1:] - finite) / found.errors[0, 1:]).max() < 4


def test_hard_cores_follow_the_exact_lattice_gas():  # T5
    """4 vacancies on a ring of 14 sites, never on neighbouring ones: all such arrangements are equally likely."""
    length, n = 14, 4
    allowed = [
        c
        for c in combinations(range(length), n)
        if all((b - a) % length not in (1, length - 1) for a, b in combinations(c, 2))
    ]
    exact = np.zeros(length)
    for c in allowed:
        for a in c:
            for b in c:
                exact[(b - a) % length] += 1
    exact = exact / len(allowed) / length / (n / length) ** 2
    cell = TIO2.supercell(f"{length}x1")
    start = np.zeros(cell.n_sites, dtype=np.int8)
    start[[3 * x + 2 for x in (0, 3, 6, 9)]] = 2
    chain = Sampler(row_repulsion(5.0), cell).chain(start, 0)
    found = autocorrelation(cell, chain.sample(1000.0, 4000, every=60), "Obr", "VO", rows=(0,))
    assert found.values[0, 1] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(found.values[0], exact[: length // 2 + 1], atol=0.08)
    assert np.abs((found.values[0, 2:] - exact[2 : length // 2 + 1]) / found.errors[0, 2:]).max() < 4


def perfect():
    """Every sixth site of a row, the next row displaced by three."""
    cell = TIO2.supercell("24x16")
    occupations = np.zeros((24, 16, 3), dtype=np.int8)
    occupations[0::6, 0::2, 2] = 2
    occupations[3::6, 1::2, 2] = 2
    return cell, occupations.reshape(1, -1)


def test_a_perfect_lattice_gives_deltas():  # T5
    cell, occupations = perfect()
    found = autocorrelation(cell, occupations, "Obr", "VO", rows=(0, 1, 2))
    expected = np.zeros((3, 13))
    expected[0, ::6] = expected[2, ::6] = 6.0
    expected[1, 3::6] = 6.0
    np.testing.assert_allclose(found.values, expected, atol=1e-9)
    assert (found.peak(0), found.peak(1)) == (6, 3)
    assert np.isnan(found.errors).all()


def test_errors_are_those_of_independent_configurations():
    cell = TIO2.supercell("12x6")
    composition = Composition(TIO2.lattice, {"VO": 12}, delocalised=24)
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(60):
        drawn = np.array([random_configuration(cell, composition, rng) for _ in range(20)])
        found = autocorrelation(cell, drawn, "Obr", "VO")
        means.append(found.values[0, 2])
        errors.append(found.errors[0, 2])
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.3)


def test_what_has_no_rows_is_refused():
    cell, occupations = perfect()
    with pytest.raises(PatternError, match="'Ti' has 0 sites"):
        autocorrelation(cell, occupations, "Ti", "VO")
    with pytest.raises(PatternError, match="has no polaron on S0A"):
        autocorrelation(cell, occupations, "S0A", "polaron")
    with pytest.raises(PatternError, match="axis = 2"):
        autocorrelation(cell, occupations, "Obr", "VO", axis=2)


def test_pictures_come_with_their_numbers(tmp_path):
    cell = TIO2.supercell("6x4")
    occupations = random_configuration(cell, TIO2.composition("6x4"), np.random.default_rng(0))
    pattern_map(tmp_path / "map", cell, occupations, "title")
    rows = list(csv.DictReader((tmp_path / "map.csv").open()))
    assert len(rows) == 12
    for row in rows:
        site = int(row["site"])
        assert row["label"] == cell.labels[site]
        assert row["species"] == cell.lattice.species[occupations[site] - 1].name
        np.testing.assert_allclose([float(row["x_A"]), float(row["y_A"])], cell.positions[site, :2], atol=1e-3)
    correlation_functions(tmp_path / "acf", {"one": autocorrelation(cell, occupations, "Obr", "VO")})
    assert len(list(csv.DictReader((tmp_path / "acf.csv").open()))) == 2 * 4
    assert all((tmp_path / f"{name}{s}").stat().st_size > 1000 for name in ("map", "acf") for s in (".png", ".pdf"))
