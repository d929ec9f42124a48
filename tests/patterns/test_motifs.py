"""Motifs against placement at random and by hand; measured positions against the configuration they were taken from."""

import numpy as np
import pytest

from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, random_configuration
from leopold_model.patterns.correlation import autocorrelation
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.measured import measured_correlation, read_measured
from leopold_model.patterns.motifs import motifs

TIO2 = load_lattice("tio2_110")
AREA = TIO2.supercell("24x16")
CELL_A, CELL_B = (float(np.linalg.norm(v)) for v in TIO2.lattice.cell[:2])
VACANCY = TIO2.lattice.code("VO")


def with_vacancies(cell, where):
    """Vacancies on the bridging sites of the parent cells `where` (n, 2)."""
    row = np.zeros(cell.n_sites, dtype=np.int8)
    obr = TIO2.lattice.site_labels.index("Obr")
    row[cell.wrap(np.column_stack([where, np.zeros(len(where), int)])) * TIO2.lattice.n_sites + obr] = VACANCY
    return row


def test_defects_placed_at_random_have_no_motif():
    rng = np.random.default_rng(1)
    composition = Composition(TIO2.lattice, {"VO": 64, "polaron": 128})
    found = motifs(AREA, np.array([random_configuration(AREA, composition, rng) for _ in range(60)]))
    assert {m.pair for m in found} >= {"VO-VO", "VO-polaron@S1A", "polaron@S0A-polaron@S1A"}
    for motif in found:
        error = 1 / np.sqrt(60 * motif.random)
        assert motif.enrichment is not None and abs(motif.enrichment - 1) < 4 * error + 0.03, motif


def test_pairs_are_counted_once_each():
    pair = motifs(AREA, with_vacancies(AREA, np.array([[3, 5], [5, 5]])))
    counts = {round(m.distance, 2): m.count for m in pair}
    assert counts.pop(round(2 * CELL_A, 2)) == 1.0
    assert not any(counts.values())
    # across the boundary too, and on a row of its own images once for every neighbour
    small = TIO2.supercell("2x4")
    (alone,) = (m for m in motifs(small, with_vacancies(small, np.array([[0, 0]]))) if m.count)
    assert alone.distance == pytest.approx(2 * CELL_A, abs=1e-3) and alone.count == 1.0


def measured_from(row, noise, rng):
    """Positions as an image shows them: shifted by an unknown origin, with noise (Angstrom)."""
    where = AREA.positions[row == VACANCY][:, :2]
    return where + np.array([1.234, -3.2]) + rng.normal(scale=noise, size=where.shape)


def test_measured_positions_give_the_correlation_of_what_was_imaged():
    rng = np.random.default_rng(2)
    # every third site of every row, rows in step: g is 3 at multiples of 3 and 0 elsewhere
    where = np.array([[x, y] for x in range(0, 24, 3) for y in range(16)])
    row = with_vacancies(AREA, where)
    found = measured_correlation(TIO2.lattice, measured_from(row, 0.3, rng))
    exact = autocorrelation(AREA, row, "Obr", "VO")
    assert found.defects == 128
    share = 128 / (22 * 16)  # the rectangle ends with the last defect
    assert found.concentration == pytest.approx(share)
    there = exact.values[:, : len(found.distances)] > 0.5
    assert ((found.values > 0.5) == there).all()
    np.testing.assert_allclose(found.values[0, 3], 7 / 19 / share**2)


def test_random_positions_are_not_correlated():
    rng = np.random.default_rng(3)
    row = random_configuration(AREA, Composition(TIO2.lattice, {"VO": 64, "polaron": 128}), rng)
    found = measured_correlation(TIO2.lattice, measured_from(row, 0.2, rng))
    off = (found.values[:, 1:] - 1) / found.errors[:, 1:]
    assert np.abs(off).mean() < 1.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "`x` and `y`"),
        ("x,y\n1,2\nhalf,3\n", "two numbers"),
        ("x,y\n1,2\n", "1 finite positions"),
        ("", "give `x` and `y`"),
    ],
)
def test_files_that_are_no_positions_are_refused(text, words):
    with pytest.raises(PatternError, match=words):
        read_measured(text.splitlines(), "vacancies.csv")


def test_comments_and_further_columns_are_read_over():
    found = read_measured("# an image\nx,y,height\n1,2,0.3\n4,5,0.1\n".splitlines())
    np.testing.assert_array_equal(found, [[1, 2], [4, 5]])
