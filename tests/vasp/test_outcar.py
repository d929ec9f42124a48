"""The OUTCAR reader on hand-made files whose content is known to the last printed digit."""

import re
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.vasp.outcar import KILOBAR, VaspError, frames, read_outcar
from leopold_model.vasp.run import localised_sites, n_carriers
from tests.vasp.outcar_text import FLAVOURS, THERMOSTAT, Sample, read, read_text


@pytest.mark.parametrize("version", FLAVOURS)
@pytest.mark.parametrize("ibrion", [0, 2])
@pytest.mark.parametrize("touching", [False, True])
def test_every_value_of_every_step_is_the_printed_one(tmp_path, version, ibrion, touching):
    sample = Sample(version=version, ibrion=ibrion, touching=touching)
    run = read(tmp_path, sample)
    assert run.version == version
    assert run.symbols == ["Ti", "Ti", "O", "O", "O", "O"]
    assert (run.nelm, run.ispin, run.lorbit, run.nelect, run.neutral) == (60, 2, 11, 49.0, 48.0)
    assert run.ldau_l == [2, -1] and run.ldau_u == [3.9, 0.0]
    assert run.finished
    assert [s.index for s in run.steps] == [1, 2, 3]
    for step, wanted in zip(run.steps, sample.steps, strict=True):
        assert step.complete and step.converged
        assert step.energy == wanted["energy"]
        assert step.n_electronic == wanted["n_electronic"]
        np.testing.assert_array_equal(step.positions, wanted["positions"])
        np.testing.assert_array_equal(step.forces, wanted["forces"])
        np.testing.assert_array_equal(step.cell, wanted["cell"])
        np.testing.assert_array_equal(step.moments_by_l, wanted["moment_by_l"])
        np.testing.assert_allclose(step.moments, wanted["moment_by_l"].sum(1), atol=5e-4)
        np.testing.assert_array_equal(step.charges_by_l, wanted["charge_by_l"])
        xx, yy, zz, xy, yz, zx = -KILOBAR * wanted["kilobar"]
        np.testing.assert_allclose(step.stress, [[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]], rtol=1e-12)
        # the last set of the step, not the first; zero on oxygen, which has none
        traces = np.trace(wanted["onsite"][-1], axis1=-2, axis2=-1)
        np.testing.assert_allclose(step.occupations[:2], traces, atol=1e-9)
        np.testing.assert_array_equal(step.occupations[2:], 0.0)
        assert step.unphysical == ((0,) if touching else ())
        if ibrion == 0:
            for name in THERMOSTAT:
                assert getattr(step, name) == wanted[name]
    last = run.steps[-1].onsite
    assert sorted(last) == [0, 1]
    for atom, (shell, up, down) in last.items():
        assert shell == 2
        np.testing.assert_array_equal([up, down], sample.steps[-1]["onsite"][-1, atom])
    assert all(step.onsite is None for step in run.steps[:-1])


def _same(a, b) -> bool:
    for f in fields(a):
        if f.name == "onsite":
            continue
        x, y = getattr(a, f.name), getattr(b, f.name)
        if (x is None) != (y is None) or (x is not None and not np.array_equal(x, y, equal_nan=f.name != "unphysical")):
            return False
    return True


CUT = {(version, ibrion): Sample(version=version, ibrion=ibrion) for version in FLAVOURS for ibrion in (0, 2)}
TEXTS = {key: sample.text().encode() for key, sample in CUT.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "OUTCAR"
    runs = {}
    for key, text in TEXTS.items():
        path.write_bytes(text)
        runs[key] = read_outcar(path)
    return path, runs


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(TEXTS)), st.floats(0, 1))
def test_a_file_cut_anywhere_gives_the_complete_steps_of_the_whole(whole, key, fraction):
    path, runs = whole
    text, full = TEXTS[key], runs[key]
    end = int(fraction * len(text))
    path.write_bytes(text[:end])
    run = read_outcar(path)
    complete = run.complete_steps
    assert len(complete) <= len(full.steps)
    assert all(_same(a, b) for a, b in zip(complete, full.steps, strict=False))
    # only the last step can be incomplete, and the energy line decides
    assert all(step.complete for step in run.steps[:-1])
    assert len(complete) <= text[:end].count(b"free  energy   TOTEN")
    # no more is lost than the step the cut falls into
    assert len(complete) >= text[:end].count(b"LOOP+:")
    if end < len(text) - 100:
        assert not run.finished and run.problems


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TEXTS)), st.randoms(use_true_random=False), st.integers(1, 60))
def test_damaged_lines_never_raise(whole, key, random, n):
    path, _ = whole
    lines = TEXTS[key].splitlines(True)
    for _ in range(n):
        i = random.randrange(len(lines))
        kind = random.choice(("lost", "repeated", "stars", "short", "bytes"))
        if kind == "lost":
            lines[i] = b""
        elif kind == "repeated":
            lines.insert(i, lines[random.randrange(len(lines))])
        elif kind == "stars":
            lines[i] = lines[i].replace(b"0.", b"**")
        elif kind == "bytes" and lines[i]:
            k = random.randrange(len(lines[i]))
            lines[i] = lines[i][:k] + bytes((random.randrange(256),)) + lines[i][k + 1 :]
        else:
            lines[i] = lines[i][: random.randrange(len(lines[i]) + 1)] + b"\n"
    path.write_bytes(b"".join(lines))
    run = read_outcar(path)
    assert all(np.isfinite(step.energy) for step in run.complete_steps)


def test_a_version_cut_off_is_no_version(whole):
    path, _ = whole
    key = sorted(TEXTS)[0]
    lines = TEXTS[key].splitlines(True)
    first = next(k for k, line in enumerate(lines) if b"vasp." in line)
    lines[first] = lines[first][: lines[first].index(b"vasp.") + 5] + b"\n"
    path.write_bytes(b"".join(lines))
    assert read_outcar(path).version == "" and read_outcar(path).complete_steps


@pytest.mark.parametrize("version", FLAVOURS)
def test_running_out_of_nelm_is_unconverged_in_both_flavours(tmp_path, version):
    sample = Sample(version=version, nelm=8, unconverged=(2,))
    run = read(tmp_path, sample)
    assert [s.converged for s in run.steps] == [True, False, True]
    assert any(p.startswith("step 2: electronic loop not converged (NELM = 8") for p in run.problems)


@pytest.mark.parametrize("version", FLAVOURS)
def test_using_all_of_nelm_and_converging_in_the_last_is_converged(tmp_path, version):
    run = read(tmp_path, Sample(version=version, nelm=3, n_electronic=3))
    assert all(s.converged and s.n_electronic == 3 for s in run.steps)


def test_onsite_matrices_absent_at_first_are_still_found(tmp_path):
    sample = Sample(first_onsite=3)
    run = read(tmp_path, sample)
    np.testing.assert_array_equal(run.steps[-1].onsite[1][1], sample.steps[-1]["onsite"][-1, 1, 0])


@pytest.mark.parametrize("shell", [0, 1, 2, 3])
def test_onsite_matrices_of_every_shell(tmp_path, shell):
    sample = Sample(shell=shell, n_ti=3)
    run = read(tmp_path, sample)
    last = run.steps[-1]
    for atom in range(3):
        assert last.onsite[atom][0] == shell
        np.testing.assert_array_equal(last.onsite[atom][1:], sample.steps[-1]["onsite"][-1, atom])
    traces = np.trace(sample.steps[-1]["onsite"][-1], axis1=-2, axis2=-1)
    np.testing.assert_allclose(last.occupations[:3], traces, atol=1e-9)


@pytest.mark.parametrize("n_l", [2, 3, 4])
def test_tables_have_as_many_columns_as_their_header_says(tmp_path, n_l):
    sample = Sample(n_l=max(n_l, 3))
    text = sample.text()
    if n_l == 2:  # s and p: rows lose their column of d, which the total keeps
        text = re.sub(r"(?m)^(# of ion +s +p) +d", r"\1", text)
        text = re.sub(
            r"(?m)^( {1,4}\d     (?: {1,3}-?\d\.\d{3}){2}) {1,3}-?\d\.\d{3}(?= {1,3}-?\d\.\d{3}$)", r"\1", text
        )
    run = read_text(tmp_path, text)
    for step, wanted in zip(run.steps, sample.steps, strict=True):
        np.testing.assert_array_equal(step.moments_by_l, wanted["moment_by_l"][:, :n_l])
        np.testing.assert_array_equal(step.charges_by_l, wanted["charge_by_l"][:, :n_l])
        np.testing.assert_allclose(step.moments, wanted["moment_by_l"].sum(1), atol=5e-4)


def test_more_atoms_than_the_columns_of_their_numbers_hold(tmp_path):
    sample = Sample(n_ti=70, n_o=70, n_steps=1, n_electronic=1)
    text = re.sub(r"(?m)^ +\d{3}     (?= +-?\d\.\d{3} )", "***     ", sample.text())  # 3 wide, as if of thousands
    assert text.count("***     ") > 100
    (step,) = read_text(tmp_path, text).steps
    np.testing.assert_array_equal(step.moments_by_l, sample.steps[0]["moment_by_l"])
    np.testing.assert_array_equal(step.charges_by_l, sample.steps[0]["charge_by_l"])


def test_the_last_complete_set_of_onsite_matrices_counts(tmp_path):
    sample = Sample(n_steps=1)
    parts = sample.text().split("atom =   2")
    run = read_text(tmp_path, "atom =   2".join(parts[:-1]) + "atom of the last set" + parts[-1])
    for atom in (0, 1):
        np.testing.assert_array_equal(run.steps[0].onsite[atom][1:], sample.steps[0]["onsite"][-2, atom])


def test_onsite_matrices_without_spin_are_no_occupations(tmp_path):
    text = re.sub(r"(?ms)^spin component  2\n.*?(?=^ occupancies)", "", Sample(ispin=1).text())
    run = read_text(tmp_path, text)
    assert all(s.complete and s.onsite is None and s.occupations is None and not s.unphysical for s in run.steps)


def test_one_atom_has_no_row_of_totals(tmp_path):
    sample = Sample(n_ti=1, n_o=0)
    run = read(tmp_path, sample)
    assert [s.moments_by_l.tolist() for s in run.steps] == [s["moment_by_l"].tolist() for s in sample.steps]


def test_nwrite_zero_is_said_and_not_guessed(tmp_path):
    run = read(tmp_path, Sample(nwrite=0, n_steps=4))
    assert [s.forces is None for s in run.steps] == [False, True, True, False]
    assert all(s.complete for s in run.steps)
    assert any("steps 2-3: no forces (NWRITE = 0" in p and "NWRITE = 2" in p for p in run.problems)
    assert [f.step for f in frames(run, carrier="electron", n_carriers=1)] == [1, 4]
    assert all(s.cell is not None for s in run.steps)
    run = read(tmp_path, Sample(nwrite=0, n_steps=4, isif=3))
    assert [s.cell is None for s in run.steps] == [False, True, True, False]


@pytest.mark.parametrize(
    ("change", "tag"),
    [({"ispin": 1}, "ISPIN = 1"), ({"lorbit": 0}, "LORBIT = 0"), ({"noncollinear": True}, "LNONCOLLINEAR = T")],
)
def test_runs_without_moments_are_refused_where_moments_are_needed(tmp_path, change, tag):
    run = read(tmp_path, Sample(**change))
    assert any(tag in p for p in run.problems)
    assert all(s.moments is None for s in run.steps)
    with pytest.raises(VaspError, match=f"{tag}.*(set|only)"):
        frames(run, carrier="electron", n_carriers=1)
    assert len(frames(run, carrier="electron", n_carriers=0)) == 3


def test_impossible_occupations_are_flagged_and_make_no_frame(tmp_path):
    run = read(tmp_path, Sample(touching=True))
    assert any("step 1: onsite occupations of atom 0 (from 0) are impossible" in p for p in run.problems)
    assert frames(run, carrier="electron", n_carriers=1) == []


def test_frames_turn_the_spin_axis_so_that_the_carrier_is_positive(tmp_path):
    sample = Sample(spin_down=True)
    run = read(tmp_path, sample)
    made = frames(run, carrier="electron", n_carriers=1, run_name="a", source="test", settings="s")
    assert [f.carrier_sites for f in made] == [(0,), (1,), (0,)]
    for frame, step in zip(made, run.steps, strict=True):
        np.testing.assert_array_equal(frame.moments, -step.moments)
        np.testing.assert_array_equal(frame.occupations, step.occupations[:, ::-1])
        assert (frame.run, frame.source, frame.settings, frame.step) == ("a", "test", "s", step.index)
        assert frame.temperature == step.temperature and frame.energy == step.energy
    up = read(tmp_path, Sample())
    np.testing.assert_array_equal(frames(up, carrier="electron", n_carriers=1)[0].moments, up.steps[0].moments)


def test_number_of_carriers_comes_from_nelect_then_from_the_cell_moment(tmp_path):
    assert n_carriers(*_last(read(tmp_path, Sample(nelect=46.0)))) == 2
    assert n_carriers(*_last(read(tmp_path, Sample(nelect=48.0)))) == 1
    assert n_carriers(*_last(read(tmp_path, Sample(nelect=48.0, ispin=1)))) == 0


def _last(run):
    return run, run.steps[-1]


def test_a_spread_carrier_sits_nowhere():
    assert localised_sites(np.array([0.1, 0.84, 0.02]), 1) == (1,)
    assert localised_sites(np.array([0.1, -0.84, 0.02]), 1) == (1,)
    assert localised_sites(np.array([0.25, 0.25, 0.25]), 1) == ()
    assert localised_sites(np.array([0.8, 0.35, 0.0]), 2) == (0,)
    assert localised_sites(np.array([0.8, 0.75, 0.0]), 2) == (0, 1)
    assert localised_sites(None, 1) == ()


def test_occupation_control_is_believed_only_with_tag_and_atoms(tmp_path):
    title = " Occupation set for the following atoms "
    assert read(tmp_path, Sample()).occ_banner is None
    assert not read(tmp_path, Sample(occ_lines=(title,))).occ_banner.imposed
    assert not read(tmp_path, Sample(occ_lines=(" OCCEXT found", title))).occ_banner.imposed
    for label in ("Spin  1", "Spin up"):
        run = read(tmp_path, Sample(occ_lines=(" OCCEXT found", title, f"  ATOM   2 {label}")))
        assert run.occ_banner.imposed and run.occ_banner.atoms == (1,)
        assert any("imposed" in p for p in run.problems)


def test_a_file_that_is_no_outcar_says_so(tmp_path):
    path = tmp_path / "OUTCAR"
    path.write_text("not from VASP\n" * 50)
    run = read_outcar(path)
    assert run.steps == [] and "no VASP version" in run.problems[0]
    with pytest.raises(VaspError, match="does not exist"):
        read_outcar(tmp_path / "missing")


def test_without_its_head_the_steps_are_read_but_make_no_frames(tmp_path):
    sample = Sample()
    text = sample.text()
    path = tmp_path / "OUTCAR"
    path.write_text(text[text.index("---------------------- Ionic step") :])
    run = read_outcar(path)
    assert [s.energy for s in run.complete_steps] == [s["energy"] for s in sample.steps]
    assert [s.moments.argmax() for s in run.steps] == [0, 1, 0]
    assert "its head is missing" in run.problems[0]
    with pytest.raises(VaspError, match="species"):
        frames(run, carrier="electron", n_carriers=1)


def test_dynamics_without_timings_is_closed_by_the_next_step(tmp_path):
    text = Sample(ibrion=0).text()
    bare = "".join(line for line in text.splitlines(True) if "LOOP+" not in line and "ETOTAL" not in line)
    path = tmp_path / "OUTCAR"
    path.write_text(bare)
    assert [s.complete for s in read_outcar(path).steps] == [True, True, True]
    path.write_text(bare[: bare.index(" General timing")])
    assert [s.complete for s in read_outcar(path).steps] == [True, True, False]
