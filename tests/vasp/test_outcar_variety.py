"""The OUTCAR reader on files that are not one clean run: force fields, linear response, restarts end to end, numbers
that touch or overflow, other versions."""

import re
import tracemalloc

import numpy as np
import pytest

from leopold_model.vasp.outcar import KILOBAR, frames, read_outcar, stream_outcar
from leopold_model.vasp.run import Run
from tests.vasp.outcar_text import THERMOSTAT, Sample, force_field_blocks, read, read_text


def _assert_steps(run, wanted):
    """The steps of `run` hold the printed values of `wanted`."""
    assert [s.energy for s in run.steps] == [w["energy"] for w in wanted]
    for step, w in zip(run.steps, wanted, strict=True):
        assert step.complete and step.converged and step.n_electronic == w["n_electronic"]
        np.testing.assert_array_equal(step.forces, w["forces"])
        np.testing.assert_array_equal(step.cell, w["cell"])
        np.testing.assert_allclose(np.diag(step.stress), -KILOBAR * w["kilobar"][:3], rtol=1e-12)
        assert [getattr(step, name) for name in THERMOSTAT] == [w[name] for name in THERMOSTAT]


@pytest.mark.parametrize("between", [0, 1, 3])
def test_steps_of_a_machine_learned_force_field_are_left_out(tmp_path, between):
    sample = Sample()
    head, *steps = re.split(r"(?m)^(?=-+ Ionic step)", sample.text())
    alone, before = force_field_blocks(sample.n, thermostat=True), force_field_blocks(sample.n, thermostat=False)
    text = head
    for k, step in enumerate(steps):
        number = f"{1 + k * (between + 1):7d}("
        text += alone * (between if k else 0) + before + re.sub(rf"(?<=Iteration) +{k + 1}\(", number, step)
    run = read_text(tmp_path, text)
    _assert_steps(run, sample.steps)
    assert [s.index for s in run.steps] == [1 + k * (between + 1) for k in range(3)]
    assert run.force_field and any("ML_LMLFF" in p for p in run.problems)


def test_a_run_of_the_force_field_alone_has_no_steps(tmp_path):
    head = re.split(r"(?m)^(?=-+ Ionic step)", Sample().text())[0]
    run = read_text(tmp_path, head + 20 * force_field_blocks(6, thermostat=True))
    assert run.steps == [] and any("ML_LMLFF" in p for p in run.problems)


def test_iterations_of_linear_response_are_no_steps(tmp_path):
    sample = Sample(n_steps=1, ibrion=-1, n_electronic=4)
    text = sample.text().replace("NSW    =      1", "NSW    =      0")
    response = "".join(f"---------- Iteration {i:4d}({k:4d}) ----------\n" for i in (1, 2, 3) for k in (1, 2))
    response += "------------------------ aborting loop EDIFF was not reached (unconverged)  ------\n"
    run = read_text(tmp_path, text.replace(" General timing", response + " General timing"))
    assert [(s.index, s.n_electronic, s.converged) for s in run.steps] == [(1, 4, True)]
    assert run.finished


@pytest.mark.parametrize("head", [True, False])
def test_runs_put_end_to_end_are_numbered_on(tmp_path, head):
    first, second = Sample(seed=1, n_steps=2), Sample(seed=2)
    text = second.text()
    if not head:
        text = text[text.index("---------------------- Ionic step") :]
    run = read_text(tmp_path, first.text() + text)
    _assert_steps(run, first.steps + second.steps)
    assert [s.index for s in run.steps] == [1, 2, 3, 4, 5]
    assert run.finished and run.n_runs == 1 + head
    killed = first.text()[: -len(first._footer())] + "------ Iteration      3(   1)  ------\n"
    run = read_text(tmp_path, killed + second.text())
    assert [s.complete for s in run.steps] == [True, True, False, True, True, True]
    assert len({s.index for s in run.steps}) == 6


def test_a_run_behind_one_that_was_killed_in_its_first_step(tmp_path):
    first, second = Sample(seed=1), Sample(seed=2)
    text = first.text()
    for end in (text.index("TOTAL-FORCE") + 200, text.index(" magnetization (x)") + 150, text.index("  free  energy")):
        run = read_text(tmp_path, text[:end] + second.text())
        assert [s.complete for s in run.steps] == [False, True, True, True]
        assert [s.energy for s in run.complete_steps] == [s["energy"] for s in second.steps]
        for step, wanted in zip(run.complete_steps, second.steps, strict=True):
            np.testing.assert_array_equal(step.moments_by_l, wanted["moment_by_l"])
            np.testing.assert_array_equal(step.forces, wanted["forces"])


def test_a_run_of_other_atoms_behind_is_not_read(tmp_path):
    sample = Sample()
    run = read_text(tmp_path, sample.text() + Sample(n_o=5).text())
    _assert_steps(run, sample.steps)
    assert any("other atoms" in p for p in run.problems)


def test_line_ends_and_bytes_of_other_systems(tmp_path):
    sample = Sample()
    data = sample.text().encode().replace(b" INCAR:\n", b" INCAR:\n   SYSTEM = \xe9\xff vasp.1\n")
    (tmp_path / "OUTCAR").write_bytes(data.replace(b"\n", b"\r\n"))
    run = read_outcar(tmp_path / "OUTCAR")
    _assert_steps(run, sample.steps)
    assert run.version == "6.4.2" and run.symbols == ["Ti"] * 2 + ["O"] * 4 and run.ldau_l == [2, -1]
    assert all(s.moments is not None and s.occupations is not None for s in run.steps)


def test_thermostat_lines_of_vasp_5_2(tmp_path):
    sample = Sample(version="5.2.12 11Nov11")
    old = re.sub(
        r"  kinetic energy EKIN.*\n  kin. lattice  EKIN_LAT= +[\d.]+", "  kinetic Energy EKIN   =    1.5", sample.text()
    )
    run = read_text(tmp_path, old)
    assert [s.temperature for s in run.steps] == [s["temperature"] for s in sample.steps]
    assert all(s.kinetic == 1.5 and np.isnan(s.kinetic_lattice) for s in run.steps)


def test_numbers_that_overflow_are_none(tmp_path):
    sample = Sample(n_steps=1)
    text = sample.text()
    row = text.splitlines()[next(i for i, line in enumerate(text.splitlines()) if "TOTAL-FORCE" in line) + 2]
    run = read_text(tmp_path, text.replace(row, row[:-14] + "*" * 14))
    assert run.steps[0].forces is None and run.steps[0].max_force is None and run.steps[0].positions is not None
    assert any("overflow" in p for p in run.problems)
    assert frames(run, carrier="electron", n_carriers=1) == []
    run = read_text(tmp_path, re.sub(r"(?<=  in kB  ).*", "*" * 72, text))
    assert run.steps[0].stress is None and run.steps[0].complete


def test_onsite_matrices_that_overflow_or_cannot_be_read_are_impossible(tmp_path):
    sample = Sample(n_steps=1, n_electronic=1)
    text = sample.text()
    at = text.index("spin component  1\n") + len("spin component  1\n\n")
    for damage in ("*" * 16 + text[at + 16 : at + 41], "  0.12 what\n"):
        run = read_text(tmp_path, text[:at] + damage + text[at + 41 :])
        assert run.steps[0].unphysical == (0,) and np.isnan(run.steps[0].occupations[0, 0])
        np.testing.assert_array_equal(run.steps[0].onsite[1][1:], sample.steps[0]["onsite"][0, 1])


def test_atom_numbers_beyond_their_column(tmp_path):
    sample = Sample(n_steps=1)
    text = re.sub(r"atom = +\d+ ", "atom = *** ", sample.text())
    run = read_text(tmp_path, text)
    assert sorted(run.steps[0].onsite) == [0, 1] and run.steps[0].occupations[0, 0] != 0


def test_occupations_from_the_tables_of_the_spheres(tmp_path):
    bare = re.sub(r"(?ms)^atom = .*?^  o = .*?\n", "", Sample().text())
    sample = Sample()
    sample.text()
    run = read_text(tmp_path, bare)
    for step, w in zip(run.steps, sample.steps, strict=True):
        assert step.onsite is None and step.from_spheres
        charge, moment = w["charge_by_l"][:2, 2], w["moment_by_l"][:2, 2]  # LDAUL = 2 on Ti
        np.testing.assert_allclose(step.occupations[:2].T, [(charge + moment) / 2, (charge - moment) / 2], atol=1e-9)
        np.testing.assert_array_equal(step.occupations[2:], 0.0)
    assert any("steps 1-3: no onsite" in p and "LORBIT tables" in p and "LDAUPRINT = 2" in p for p in run.problems)
    # without U, of the whole sphere
    run = read_text(tmp_path, re.sub(r"(?m)^.*LDAUL =.*\n", "", bare))
    for step in run.steps:
        np.testing.assert_allclose(step.occupations[:, 0] - step.occupations[:, 1], step.moments, atol=1e-9)
        np.testing.assert_allclose(step.occupations.sum(1), step.charges, atol=1e-9)
    assert not any("LDAUPRINT" in p for p in run.problems)
    assert not any(s.from_spheres for s in read(tmp_path, Sample()).steps)


def _header(tmp_path, change):
    text = Sample(n_steps=0).text()
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    return read_text(tmp_path, text)


def test_numbers_of_atoms_that_touch(tmp_path):
    kinds = [("NIONS =      6", "NIONS =   2004"), ("             2   4", "            10001004")]
    run = _header(tmp_path, kinds)
    assert run.counts == [1000, 1004] and run.symbols[999:1001] == ["Ti", "O"]
    run = _header(tmp_path, [("NIONS =      6", "NIONS = 222004"), ("             2   4", "            ********")])
    assert run.n_atoms == 222004 and run.symbols == []


def test_lattice_vectors_that_touch(tmp_path):
    cell = np.array([[120.5, 123.25, -11.125], [-20.0, -30.5, 100.125], [0.0, -10.5, 99.0]])
    text = Sample(n_steps=1).text()
    printed = "".join("".join(f"{v:13.9f}" for v in [*row, 0.0, 0.0, 0.0]) + "\n" for row in cell)
    at = text.rindex("direct lattice vectors")
    at = text.index("\n", at) + 1
    run = read_text(tmp_path, text[:at] + printed + text[at + 3 * 79 :])
    np.testing.assert_array_equal(run.steps[0].cell, cell)


def test_rows_of_species_that_run_over_the_line(tmp_path):
    run = _header(
        tmp_path,
        [
            ("             2   4\n", "             1   1\n                           1   3\n"),
            ("LDAUL =     2   -1\n", "LDAUL =     2   -1\n                                           1   -1\n"),
            (" POTCAR:    PAW_PBE O 08Apr2002\n", " POTCAR:    PAW_PBE O 08Apr2002\n" * 3),
            ("ZVAL   =  12.00  6.00\n", "ZVAL   =  12.00  6.00\n             5.00  4.00\n"),
        ],
    )
    assert run.counts == [1, 1, 1, 3] and run.ldau_l == [2, -1, 1, -1] and run.valences == [12.0, 6.0, 5.0, 4.0]
    assert run.symbols == ["Ti", "O", "O", "O", "O", "O"]


def test_species_without_a_telling_title(tmp_path):
    content = "   VRHFIN =Ti: s2p6d4\n   VRHFIN =O: s2p4\n   POMASS ="
    run = _header(tmp_path, [("PAW_PBE Ti_sv 26Sep2005", "my own potential"), ("   POMASS =", content)])
    assert run.symbols == ["Ti"] * 2 + ["O"] * 4


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "OUTCAR"
    text = Sample(n_steps=4).text()
    eigenvalues = "      1     -16.9271      1.00000\n" * 4000  # what most of a real file is: lines nobody reads
    path.write_text(40 * (text.replace(" General timing", eigenvalues + " General timing")))
    assert path.stat().st_size > 6_000_000
    tracemalloc.start()
    assert sum(step.complete for step in stream_outcar(path, Run())) == 160
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000  # of which 2 MB are the buffer
