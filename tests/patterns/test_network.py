"""The energy of a configuration: the paper's descriptor, the pair table, symmetry, and what learning reaches."""

import numpy as np
import pytest

from leopold_model.patterns import PatternError
from leopold_model.patterns.cluster_expansion import fit_pairs
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.descriptor import Descriptor, DescriptorConfig
from leopold_model.patterns.evaluation import errors
from leopold_model.patterns.labels import Labels, LabelSet, read_labels, write_labels
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.learning import learn
from leopold_model.patterns.network import load_pattern_model
from leopold_model.patterns.settings import PatternTrainConfig
from leopold_model.patterns.splits import split
from leopold_model.patterns.tables import energy, make_tables
from leopold_model.patterns.training import train
from tests.patterns.exact_lattice import ExactLattice
from tests.patterns.random_models import random_model

TIO2 = load_lattice("tio2_110")
CASES = [
    ("tio2_110", "6x4", DescriptorConfig()),
    ("tio2_110", "12x2", DescriptorConfig()),
    ("tio2_110", "4x3", DescriptorConfig(kind="free", cutoff=9.0)),
    ("srtio3_001", "4x4", DescriptorConfig()),
    ("srtio3_001", "4x4", DescriptorConfig(kind="free", cutoff=9.0)),
    ("rutile_f", "2x2x3", DescriptorConfig(kind="free", cutoff=6.0)),
    ("rutile_f", "2x2x3", DescriptorConfig(kind="shell", cutoff=6.0)),
]


def smeared_grid(occupations, nx, ny):
    """The densities of the paper, step by step: half-cell grid, channels S0, S1, VO, eight times 0.1 Laplacian."""
    grid = np.zeros((3, 2 * nx, 2 * ny))
    sites = occupations.reshape(nx, ny, 3)
    grid[0, 0::2, 0::2], grid[1, 1::2, 0::2], grid[2, 0::2, 1::2] = (sites > 0).transpose(2, 0, 1)
    for _ in range(8):
        neighbours = sum(np.roll(grid, step, axis) for axis in (1, 2) for step in (1, -1))
        grid = grid + 0.1 * (neighbours - 4 * grid)
    return grid


@pytest.mark.parametrize(("nx", "ny"), [(6, 4), (12, 2), (24, 16)])
def test_the_descriptor_is_the_smeared_grid_of_the_paper(nx, ny):
    cell = TIO2.supercell(f"{nx}x{ny}")
    occupations = random_configuration(cell, TIO2.composition(f"{nx}x{ny}"), np.random.default_rng(0))
    grid = smeared_grid(occupations, nx, ny)
    found = Descriptor(TIO2.lattice, DescriptorConfig()).features(cell, occupations[None])
    # the identity is the first operation, the sites come in the order of their cells
    for b, (_, values) in enumerate(found):
        cells = np.argwhere(occupations.reshape(nx, ny, 3)[..., b])
        expected = [
            [
                grid[c, (2 * x + dx) % (2 * nx), (2 * y + dy) % (2 * ny)]
                for c, (hx, hy) in enumerate([(0, 0), (1, 0), (0, 1)])
                for dx in range(-6, 7)
                for dy in range(-4, 5)
                if (dx - hx) % 2 == 0 and (dy - hy) % 2 == 0
            ]
            for x, y in cells
        ]
        assert values.shape == (len(cells), 4, 93)
        np.testing.assert_allclose(values[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize(("name", "size", "config"), CASES)
def test_energies_do_not_change_under_any_operation_or_translation(name, size, config):  # T1
    instance = load_lattice(name)
    cell = instance.supercell(size)
    model = random_model(instance, config)
    for seed in range(2):
        occupations = random_configuration(cell, instance.composition(size), np.random.default_rng(seed))
        found = model.energies(cell, cell.images(occupations))[0]
        assert np.ptp(found) < 1e-6
    different = [random_configuration(cell, instance.composition(size), np.random.default_rng(k)) for k in range(9)]
    assert np.ptp(model.energies(cell, np.array(different))[0]) > 1e-3


@pytest.mark.parametrize(("name", "size", "config"), CASES)
def test_the_pair_table_is_the_same_function(name, size, config):
    instance = load_lattice(name)
    cell = instance.supercell(size)
    model = random_model(instance, config, members=2)
    tables = make_tables(model, np.float64)
    for seed in range(3):
        occupations = random_configuration(cell, instance.composition(size), np.random.default_rng(seed))
        assert energy(tables, cell, occupations) == pytest.approx(model.predict(cell, occupations)[0][0], abs=1e-6)


def test_directions_survive_but_not_in_shells():
    """Two vacancies on one side of a surface polaron or on opposite sides: the same pairs, another arrangement."""
    cell = TIO2.supercell("12x6")
    site = {name: lambda x, y, b=b: 3 * ((x % 12) * 6 + y % 6) + b for b, name in enumerate(("S0", "S1", "VO"))}
    occupations = np.zeros((2, cell.n_sites), dtype=np.int8)
    occupations[:, site["S0"](6, 3)] = 1
    occupations[:, site["VO"](7, 3)] = 2
    occupations[0, site["VO"](5, 2)] = 2  # through the centre
    occupations[1, site["VO"](5, 3)] = 2  # its mirror image, the vacancies now in one row
    energies = []
    for kind in ("grid", "shell"):
        model = random_model(TIO2, DescriptorConfig(kind=kind))
        # the polaron's own energy: what the vacancies see of each other is left out
        model.layers[2][-1] = (0 * model.layers[2][-1][0], 0 * model.layers[2][-1][1])
        energies.append(model.energies(cell, occupations)[0])
    assert abs(np.diff(energies[0])[0]) > 1e-3
    assert abs(np.diff(energies[1])[0]) < 1e-9


def test_a_model_comes_back_from_its_file(tmp_path):
    model = random_model(TIO2, members=3)
    model.save(tmp_path / "model.npz")
    again = load_pattern_model(tmp_path / "model.npz")
    cell = TIO2.supercell("6x4")
    occupations = random_configuration(cell, TIO2.composition("6x4"), np.random.default_rng(0))
    np.testing.assert_array_equal(again.energies(cell, occupations), model.energies(cell, occupations))
    np.testing.assert_array_equal(again.first(1).energies(cell, occupations)[0], model.energies(cell, occupations)[0])
    with pytest.raises(PatternError, match="this model has 3"):
        model.first(4)
    (tmp_path / "bad.npz").write_bytes(b"PK no zip")
    with pytest.raises(PatternError, match=r"no readable \.npz file"):
        load_pattern_model(tmp_path / "bad.npz")


def test_cells_smaller_than_the_window_and_sites_off_the_grid_are_refused():
    with pytest.raises(PatternError, match="too small"):
        random_model(TIO2).descriptor.check(TIO2.supercell("6x1"))
    with pytest.raises(PatternError, match="choose 'free'"):
        _ = Descriptor(load_lattice("rutile_f").lattice, DescriptorConfig()).surroundings


@pytest.fixture(scope="module")
def exact():
    return ExactLattice()


@pytest.fixture(scope="module")
def labels(exact):
    rng = np.random.default_rng(0)
    drawn = [random_configuration(exact.cell, exact.instance.composition("4x3"), rng) for _ in range(900)]
    return exact.labels(np.array(drawn)).deduplicated()


@pytest.fixture(scope="module")
def parts(labels):
    masks = split(labels, validation=0.1, test=0.15)
    return [labels.take(masks[name]) for name in ("train", "validation", "test")]


@pytest.mark.parametrize("by", ["orbit", "pattern"])
def test_no_orbit_or_pattern_is_in_two_parts(exact, by):  # T6
    rng = np.random.default_rng(1)
    drawn = np.array([random_configuration(exact.cell, exact.instance.composition("4x3"), rng) for _ in range(60)])
    everything = np.concatenate([exact.cell.images(row)[:7] for row in drawn])
    found = exact.labels(everything)
    masks = split(found, by, validation=0.2, test=0.2)
    keys = np.array(found.keys if by == "orbit" else found.defect_keys)
    assert sum(mask.sum() for mask in masks.values()) == len(found)
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(keys[masks[a]]) & set(keys[masks[b]])


def test_learned_energies_beat_pairs_on_orbits_held_out(parts):  # T3, with fewer labels
    training, validation, test = parts
    model = train(training, validation, PatternTrainConfig(members=1, epochs=70))
    learned, pairs = errors(model, test), errors(fit_pairs(training, validation, 11.8), test)
    assert learned["mae"] < 5.0, learned
    assert learned["mae"] < 0.5 * pairs["mae"], (learned, pairs)
    assert learned["window_mae"] < pairs["window_mae"]
    assert learned["rank_correlation"] > 0.99


def test_a_linear_lattice_is_found_by_the_pair_expansion():
    """Without the three-body term energies are sums over pairs: the expansion is exact."""
    exact = ExactLattice(bridge=0.0)
    rng = np.random.default_rng(0)
    drawn = np.array([random_configuration(exact.cell, exact.instance.composition("4x3"), rng) for _ in range(400)])
    labels = exact.labels(drawn)
    masks = split(labels)
    model = fit_pairs(labels.take(masks["train"]), labels.take(masks["validation"]), 11.8)
    assert errors(model, labels.take(masks["test"]))["mae"] < 0.05


def test_label_files_keep_everything_and_bad_labels_are_refused(labels, tmp_path):
    write_labels(tmp_path / "labels.h5", labels)
    again = read_labels(tmp_path / "labels.h5")
    np.testing.assert_array_equal(again.energies, labels.energies)
    assert again.keys == labels.keys
    cell = labels.groups[0].supercell
    with pytest.raises(PatternError, match=r"energies\[1\] is not finite"):
        Labels(cell, labels.groups[0].occupations[:2], [0.0, np.nan])
    with pytest.raises(PatternError, match="need at least 3"):
        split(labels.take(np.arange(len(labels)) < 2))
    with pytest.raises(PatternError, match="does not exist"):
        read_labels(tmp_path / "nothing.h5")


def test_of_equivalent_labels_the_lowest_is_kept(exact):
    occupations = random_configuration(exact.cell, exact.instance.composition("4x3"), np.random.default_rng(0))
    images = exact.cell.images(occupations)[[0, 5, 9]]
    found = LabelSet(exact.instance, (Labels(exact.cell, images, [1.0, -2.0, 3.0]),)).deduplicated()
    assert found.energies.tolist() == [-2.0]


def test_learning_reports_three_parts_the_pairs_and_the_curve_and_depends_on_its_seed_alone(labels):
    some = labels.take(np.arange(len(labels)) < 200)
    config = PatternTrainConfig(
        members=2, epochs=2, descriptor=DescriptorConfig(kind="free", cutoff=6.0), augment=False
    )
    first, again = learn(some, config, curve=[1.0]), learn(some, config)
    report, cell, occupations = first.report, labels.groups[0].supercell, labels.groups[0].occupations[:5]
    assert report["labels"]["train"] + report["labels"]["validation"] + report["labels"]["test"] == 200
    whole, last = report["learning_curve"]  # the share of 1 is all of them
    assert whole == last and last["labels"] == report["labels"]["train"]
    assert set(report["test"]) >= {"mae", "window_mae", "rank_correlation"}
    assert report["pair_expansion"]["cutoff_A"] == 11.8
    np.testing.assert_array_equal(first.energies(cell, occupations), again.energies(cell, occupations))
    assert first.fingerprint == again.fingerprint
    assert first.predict(cell, occupations)[1].min() > 0  # the members differ
