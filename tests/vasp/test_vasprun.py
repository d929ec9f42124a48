"""vasprun.xml made by hand: settings that stand twice, what is no step of DFT, text that XML forbids, cuts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.vasp.outcar import KILOBAR
from leopold_model.vasp.vasprun import read_vasprun
from tests.vasp.vasprun_text import TERMS, calculation, force_field, value, vasprun


@pytest.fixture
def read(tmp_path):
    def call(text: str | bytes):
        path = tmp_path / "vasprun.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
        return read_vasprun(path)

    return call


def test_every_value_of_every_step(read):
    run = read(vasprun("".join(calculation(k) for k in (1, 2, 3))))
    assert (run.version, run.nelm, run.nelect, run.neutral, run.symbols) == ("6.4.2", 4, 11.0, 10.0, ["Ti", "O"])
    assert run.finished and [s.index for s in run.steps] == [1, 2, 3]
    for k, step in enumerate(run.steps, start=1):
        assert step.complete and step.converged and step.n_electronic == 4
        assert (step.energy, step.kinetic, step.conserved) == (-10 * k, pytest.approx(0.1 * k), -9 * k)
        assert (step.kinetic_lattice, step.thermostat_potential, step.thermostat_kinetic) == (0.01, 0.2, 0.3)
        np.testing.assert_array_equal(step.forces[0], [k, 0, 0])
        np.testing.assert_allclose(step.positions[0], [0.4 * k, 1.0, 1.8])
        np.testing.assert_allclose(step.stress, -k * KILOBAR * np.eye(3))


def test_iterations_of_linear_response_are_not_counted(read):
    (step,) = read(vasprun(calculation(1, n_scf=3, response=30))).steps
    assert step.n_electronic == 3 and step.converged


def test_out_of_nelm(read):
    late = calculation(2).replace(f"{TERMS}{value('e_fr_energy', -20)}", f"{TERMS}{value('e_fr_energy', -19)}")
    assert [s.converged for s in read(vasprun(calculation(1) + late)).steps] == [True, False]


def test_under_pressure_the_energy_is_that_without_p_v(read):
    run = read(vasprun(calculation(1), parameters='   <i name="PSTRESS">     10.00000000</i>\n'))
    assert run.steps[0].energy == pytest.approx(-10 - 10 * KILOBAR * 120.0)


def test_steps_of_a_machine_learned_force_field_are_left_out(read):
    tag = '  <i type="logical" name="ML_LMLFF"> T  </i>\n'
    run = read(vasprun(force_field(1) + calculation(2) + force_field(3) + calculation(4), incar=tag))
    assert [s.energy for s in run.steps] == [-20.0, -40.0]
    assert any("ML_LMLFF" in p for p in run.problems)


@pytest.mark.parametrize("title", ["a < b & c", "50% \x01\x07 \xe9", "<i>", "plain"])
def test_a_title_that_is_no_xml_does_not_hide_the_run(read, title):
    run = read(vasprun(calculation(1), incar=f'  <i type="string" name="SYSTEM">{title}</i>\n'))
    assert run.finished and [s.energy for s in run.steps] == [-10.0]


def test_stars_leave_none(read):
    stars = calculation(1).replace(
        "<v> 1.00000000 0.00000000 0.00000000 </v>\n<v> -1", "<v> ******* 0.0 0.0 </v>\n<v> -1"
    )
    final = "</scstep>\n<structure>"
    assert final in calculation(2)
    head, tail = calculation(2).split(final)
    overflown = head + final + tail.replace(value("e_fr_energy", -20), '<i name="e_fr_energy"> ******** </i>\n')
    run = read(vasprun(stars + overflown))
    assert [s.complete for s in run.steps] == [True, False]
    assert run.steps[0].forces is None and run.steps[0].positions is not None


BODY = [calculation(k) for k in (1, 2, 3)]
WHOLE = vasprun("".join(BODY)).encode()


@settings(max_examples=100, deadline=None)
@given(end=st.integers(0, len(WHOLE)))
def test_a_file_cut_anywhere_gives_the_steps_that_are_closed(tmp_path_factory, end):
    path = tmp_path_factory.getbasetemp() / "cut.xml"
    path.write_bytes(WHOLE[:end])
    run = read_vasprun(path)
    assert len(run.complete_steps) == WHOLE[:end].count(b"</calculation>")
    assert [s.energy for s in run.complete_steps] == [-10.0, -20.0, -30.0][: len(run.complete_steps)]
    assert len(run.steps) == WHOLE[:end].count(b"<calculation>")
    assert run.finished == (end >= len(WHOLE) - 1)


@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=False), n=st.integers(1, 30))
def test_damaged_lines_never_raise(tmp_path_factory, random, n):
    lines = WHOLE.splitlines(True)
    for _ in range(n):
        i = random.randrange(len(lines))
        lines[i] = random.choice(
            (b"", lines[i].replace(b"0.", b"**"), lines[i][: random.randrange(len(lines[i]) + 1)] + b"\n", lines[i] * 2)
        )
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    path.write_bytes(b"".join(lines))
    assert all(np.isfinite(s.energy) for s in read_vasprun(path).complete_steps)
