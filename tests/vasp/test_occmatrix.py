"""OCCMATRIX: readable by the patched Fortran, the same matrices back, and templates that mean what they say."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leopold_model.vasp.occmatrix import (
    ORBITALS,
    carrier_orbital,
    distinct_orbital,
    occmatrix_text,
    omc_matrices,
    orbital_share,
    read_occmatrix,
    spare_others,
    write_occmatrix,
)
from leopold_model.vasp.outcar import VaspError, read_outcar
from tests.vasp.outcar_text import Sample


class EndOfFile(Exception):
    pass


def fortran_read(text: str) -> dict:
    """The READ statements of the patch, one by one.

    READ(unit,*) n            passes over blank lines, takes n values, leaves the rest of the last line
    READ(unit,'(A)') label    takes exactly one line, whatever it holds
    """
    records = iter(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"))

    def list_directed(records: Iterator[str], n: int) -> list[str]:
        values: list[str] = []
        while len(values) < n:
            try:
                values += next(records).replace(",", " ").split()
            except StopIteration:
                raise EndOfFile from None
        return values[:n]

    def one_line(records: Iterator[str]):
        try:
            next(records)
        except StopIteration:
            raise EndOfFile from None

    found = {}
    for _ in range(int(list_directed(records, 1)[0])):
        atom, angular, spins = (int(v) for v in list_directed(records, 3))
        size = 2 * angular + 1
        blocks = []
        for _ in range(spins):
            one_line(records)
            blocks.append(np.array([[float(v) for v in list_directed(records, size)] for _ in range(size)]))
        one_line(records)
        found[atom - 1] = (angular, *blocks)
    return found


entries = st.floats(-2, 2).map(lambda v: round(v, 4))
shells = st.integers(0, 3).flatmap(
    lambda l: st.tuples(  # noqa: E741
        st.just(l),
        arrays(float, (2 * l + 1, 2 * l + 1), elements=entries),
        arrays(float, (2 * l + 1, 2 * l + 1), elements=entries),
    )
)


def assert_equal(a, b):
    assert sorted(a) == sorted(b)
    for atom in a:
        assert a[atom][0] == b[atom][0]
        for x, y in zip(a[atom][1:], b[atom][1:], strict=True):
            np.testing.assert_array_equal(x, y)


@settings(max_examples=60, deadline=None)
@given(matrices=st.dictionaries(st.integers(0, 500), shells, min_size=1, max_size=4))
def test_the_fortran_program_and_we_read_back_what_was_written(tmp_path_factory, matrices):
    text = occmatrix_text(matrices)
    assert_equal(fortran_read(text), matrices)
    path = tmp_path_factory.mktemp("occ") / "OCCMATRIX"
    write_occmatrix(path, matrices)
    assert path.read_text() == text
    assert_equal(read_occmatrix(path), matrices)


@settings(max_examples=100, deadline=None)
@given(matrices=st.dictionaries(st.integers(0, 500), shells, min_size=1, max_size=3), fraction=st.floats(0, 1))
def test_what_the_fortran_program_refuses_we_refuse_and_the_other_way_round(tmp_path_factory, matrices, fraction):
    lines = occmatrix_text(matrices).split("\n")
    # a line is lost: the last one, or one in the middle
    del lines[min(int(fraction * len(lines)), len(lines) - 2)]
    text = "\n".join(lines)
    path = tmp_path_factory.mktemp("occ") / "OCCMATRIX"
    path.write_text(text)
    try:
        wanted = fortran_read(text)
    except (EndOfFile, ValueError):
        with pytest.raises(VaspError):
            read_occmatrix(path)
    else:
        assert_equal(read_occmatrix(path), wanted)


def test_the_line_after_the_last_atom_is_there_and_missed(tmp_path):
    text = occmatrix_text({16: (2, np.eye(5), np.zeros((5, 5)))})
    assert text.endswith("\n\n") and text.startswith("1\n17 2 2\n")
    with pytest.raises(EndOfFile):
        fortran_read(text.rstrip("\n") + "\n")
    path = tmp_path / "OCCMATRIX"
    path.write_text(text.rstrip("\n") + "\n")
    with pytest.raises(VaspError, match="blank line after every atom"):
        read_occmatrix(path)


def test_touching_columns_of_an_outcar_are_separated(tmp_path):
    matrix = np.zeros((5, 5))
    matrix[0] = [-1.2345, 1.2345, -0.9999, -1.9999, 0.0]
    lines = occmatrix_text({0: (2, matrix, matrix)}).split("\n")
    assert lines[3].split() == ["-1.2345", "1.2345", "-0.9999", "-1.9999", "0.0000"]
    path = tmp_path / "OCCMATRIX"
    path.write_text("1\n1 0 1\nup\n1.0000-0.5000\n\n")
    with pytest.raises(VaspError, match="separate columns"):
        read_occmatrix(path)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({}, "at least one site"),
        ({0: (2, np.eye(3), np.eye(3))}, r"atom 0: shape \(3, 3\) with l = 2"),
        ({3: (1, 19.2672 * np.eye(3), np.eye(3))}, "atom 3: largest entry 19.2672"),
        ({3: (1, np.full((3, 3), np.nan), np.eye(3))}, "atom 3"),
    ],
)
def test_matrices_that_cannot_be_are_refused(matrices, message):
    with pytest.raises(VaspError, match=message):
        occmatrix_text(matrices)


def test_one_spin_block_leaves_down_at_zero(tmp_path):
    path = tmp_path / "OCCMATRIX"
    path.write_text("1 atoms\n\n5 1 1\nup\n1 0 0 ! a comment\n0 1 0\n\n0 0 1\n\n")
    assert_equal(read_occmatrix(path), {4: (1, np.eye(3), np.zeros((3, 3)))})


# ------------------------------------------------------------------------------------------------------------ templates

symmetric = st.integers(1, 2).flatmap(
    lambda l: arrays(float, (2, 2 * l + 1, 2 * l + 1), elements=st.floats(0.0, 0.4))  # noqa: E741
)


@settings(max_examples=60, deadline=None)
@given(
    symmetric,
    st.sampled_from(["electron", "hole"]),
    st.integers(0, 2),
    st.sampled_from([0, 1]),
)
def test_the_carrier_goes_into_the_named_orbital_and_nothing_else_changes(pair, carrier, orbital, spin):
    up, down = (0.5 * (m + m.T) + 0.3 * np.eye(len(m)) for m in pair)
    angular = (len(up) - 1) // 2
    host = {7: (angular, up, down)}
    found = omc_matrices(host, 7, carrier=carrier, orbital=orbital, spin=spin)
    assert list(found) == [7] and found[7][0] == angular
    channel = spin if carrier == "electron" else 1 - spin
    changed, kept = found[7][1 + channel], found[7][2 - channel]
    np.testing.assert_array_equal(kept, (down, up)[channel])
    target = 1.0 if carrier == "electron" else 0.0
    vector = np.eye(len(up))[orbital]
    np.testing.assert_allclose(changed @ vector, target * vector, atol=1e-12)
    others = [i for i in range(len(up)) if i != orbital]
    np.testing.assert_allclose(changed[np.ix_(others, others)], (up, down)[channel][np.ix_(others, others)], atol=1e-12)
    np.testing.assert_array_equal(host[7][1], up)  # the host is not touched


@pytest.mark.parametrize("carrier", ["electron", "hole"])
@pytest.mark.parametrize("angular", [1, 2])
@pytest.mark.parametrize("spin", [0, 1])
def test_the_orbital_put_in_is_the_one_found(carrier, angular, spin):
    rng = np.random.default_rng(angular)
    n = 2 * angular + 1
    filling = 0.02 if carrier == "electron" else 0.61  # Ti 3d of an empty shell, O 2p inside its sphere
    host = {0: (angular, filling * np.eye(n), filling * np.eye(n))}
    wanted = rng.normal(size=n)
    _, up, down = omc_matrices(host, 0, carrier=carrier, orbital=wanted, spin=spin)[0]
    vector, moment = carrier_orbital(up, down)
    assert abs(vector @ wanted) / np.linalg.norm(wanted) == pytest.approx(1.0)
    size = 1 - filling if carrier == "electron" else filling
    assert moment == pytest.approx(size if spin == 0 else -size)


def test_the_default_orbital_is_the_emptiest_or_fullest():
    host = {0: (1, np.diag([0.6, 0.5, 0.7]), np.diag([0.6, 0.5, 0.7]))}
    hole = omc_matrices(host, 0, carrier="hole")[0]
    np.testing.assert_allclose(hole[2], np.diag([0.6, 0.5, 0.0]), atol=1e-12)
    electron = omc_matrices(host, 0, carrier="electron")[0]
    np.testing.assert_allclose(electron[1], np.diag([0.6, 1.0, 0.7]), atol=1e-12)


def test_a_site_without_host_matrix_needs_its_shell():
    with pytest.raises(VaspError, match=r"site 4.*LDAUL"):
        omc_matrices({}, 4, carrier="hole")
    angular, up, down = omc_matrices({}, 4, carrier="hole", angular=1, orbital=1)[4]
    # the published nominal matrix: a hole in O pz (order y z x), down channel
    assert angular == 1
    np.testing.assert_array_equal(up, np.eye(3))
    np.testing.assert_array_equal(down, np.diag([1.0, 0.0, 1.0]))
    with pytest.raises(VaspError, match=r"xy.*x2-y2"):
        omc_matrices({}, 4, carrier="electron", angular=2, orbital=5)
    with pytest.raises(VaspError, match="carrier"):
        omc_matrices({}, 4, carrier="exciton", angular=2)


def test_a_run_becomes_the_template_of_the_next(tmp_path):
    (tmp_path / "OUTCAR").write_text(Sample().text())
    host = read_outcar(tmp_path / "OUTCAR").complete_steps[-1].onsite
    target = omc_matrices(host, 1, carrier="electron", orbital=0)
    write_occmatrix(tmp_path / "OCCMATRIX", spare_others(host, target, [0, 1]))
    found = read_occmatrix(tmp_path / "OCCMATRIX")
    assert sorted(found) == [0, 1]
    np.testing.assert_array_equal(found[0][1], host[0][1])
    np.testing.assert_allclose(found[1][1], target[1][1], atol=5.1e-5)


def test_orbitals_are_named_for_every_shell():
    assert [len(ORBITALS[l]) for l in range(4)] == [1, 3, 5, 7]  # noqa: E741


def test_the_orbital_asked_for_is_told_from_the_one_reached():
    """A d electron: imposed in xz, found there, in xy, and in their mixture; a shell of equal moments names none."""
    base, e = 0.25 * np.eye(5), np.eye(5)

    def electron(vector):
        return base + 0.9 * np.outer(vector, vector), base

    xz, xy = e[3], e[0]
    asked = distinct_orbital(*electron(xz))
    assert np.allclose(asked, xz)
    assert orbital_share(asked, *electron(-xz)) == pytest.approx(1.0)
    assert orbital_share(asked, *electron(xy)) == pytest.approx(0.0)
    assert orbital_share(asked, *electron((xz + xy) / np.sqrt(2))) == pytest.approx(0.5)
    up, down = electron(xz)
    assert orbital_share(asked, down, up) == pytest.approx(1.0)  # a hole, or the spin axis the other way
    assert orbital_share(asked, base, base) == 0.0
    assert distinct_orbital(base + 0.2 * np.eye(5), base) is None
    assert distinct_orbital(base + np.diag([0.5, 0.45, 0, 0, 0]), base) is None
