"""vaspout.h5 in the layouts of several versions, cut and damaged."""

import h5py
import numpy as np
import pytest

from leopold_model.vasp.outcar import KILOBAR, frames
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.vaspout import read_vaspout
from tests.vasp.outcar_text import Sample
from tests.vasp.vaspout_file import DYNAMICS, MD_NAMES, write_vaspout

VERSIONS = [(6, 1), (6, 3), (6, 5)]


@pytest.fixture
def made(tmp_path):
    def call(version=(6, 5), change=None, scale=1.0, **options):
        sample = Sample(**options)
        sample.text()
        path = tmp_path / "vaspout.h5"
        write_vaspout(path, sample, version, scale)
        if change is not None:
            with h5py.File(path, "r+") as h5:
                change(h5)
        return path, sample

    return call


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ibrion", [0, 2])
def test_every_value_of_every_step(made, version, ibrion):
    path, sample = made(version, ibrion=ibrion, scale=1.7)
    run = read_vaspout(path)
    assert run.version == f"6.{version[1]}.1" and run.finished
    assert run.symbols == ["Ti", "Ti", "O", "O", "O", "O"] and run.excess_electrons == 1
    assert (run.ispin, run.nelm, run.ibrion, run.ldau_l) == (2, 60, ibrion, [2, -1])
    assert [s.index for s in run.steps] == [1, 2, 3] and all(s.complete for s in run.steps)
    for step, wanted in zip(run.steps, sample.steps, strict=True):
        for name in MD_NAMES if ibrion == 0 else ("energy",):
            assert getattr(step, name) == wanted[name]
        for name in ("positions", "forces", "cell"):
            np.testing.assert_allclose(getattr(step, name), wanted[name], atol=1e-12)
        xx, yy, zz, xy, yz, zx = -KILOBAR * wanted["kilobar"]
        np.testing.assert_allclose(step.stress, [[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]], rtol=1e-12)
        np.testing.assert_array_equal(step.moments_by_l, wanted["moment_by_l"])
        np.testing.assert_allclose(step.charges, wanted["charge_by_l"].sum(1))
        assert step.from_spheres and step.onsite is None
        difference = step.occupations[:, 0] - step.occupations[:, 1]
        np.testing.assert_allclose(difference[:2], wanted["moment_by_l"][:2, 2], atol=1e-4)
    assert any("LORBIT tables" in p for p in run.problems)
    made_frames = frames(run, carrier="electron", n_carriers=1)
    assert [f.carrier_sites for f in made_frames] == [(0,), (1,), (0,)]


def test_convergence_is_told_from_6_5_on_and_not_guessed_before(made):
    run = read_vaspout(made(unconverged=(2,), nelm=5)[0])
    assert [s.converged for s in run.steps] == [True, False, True]
    assert [s.n_electronic for s in run.steps] == [3, 5, 3]
    run = read_vaspout(made((6, 4), unconverged=(2,), nelm=5)[0])
    assert not any(s.converged for s in run.steps) and any("before VASP 6.5" in p for p in run.problems)


def test_a_last_step_written_in_part_is_incomplete(made):
    def cut(h5):
        whole = h5[f"{DYNAMICS}/forces"][()]
        del h5[f"{DYNAMICS}/forces"], h5["results/electron_eigenvalues"]
        h5[f"{DYNAMICS}/forces"] = whole[:2]

    run = read_vaspout(made(change=cut)[0])
    assert [s.complete for s in run.steps] == [True, True, False] and not run.finished
    assert "step 3 is incomplete and not used" in run.problems


def test_what_the_run_did_not_write_is_none(made):
    def remove(h5):
        del h5[f"{DYNAMICS}/stress"], h5[f"{DYNAMICS}/magnetism"], h5["input"], h5["version"]

    run = read_vaspout(made(change=remove)[0])
    assert all(s.complete and s.stress is None and s.moments is None and s.occupations is None for s in run.steps)
    assert "no VASP version" in run.problems[0]


def test_without_spin_there_are_charges_only(made):
    run = read_vaspout(made(ispin=1)[0])
    assert all(s.charges is not None and s.moments is None for s in run.steps)
    assert any("ISPIN = 1" in p for p in run.problems)


def test_noncollinear_moments_are_refused(made):
    def four(h5):
        del h5[f"{DYNAMICS}/magnetism"]
        h5[f"{DYNAMICS}/magnetism/spin_moments/values"] = np.zeros((3, 4, 6, 3))

    run = read_vaspout(made(change=four)[0])
    with pytest.raises(VaspError, match="LNONCOLLINEAR"):
        frames(run, carrier="electron", n_carriers=1)


def test_steps_of_a_machine_learned_force_field_cannot_be_told_apart(made):
    run = read_vaspout(made(change=lambda h5: h5.create_dataset("input/incar/ML_LMLFF", data=b".TRUE."))[0])
    assert run.steps == [] and any("ML_LMLFF" in p for p in run.problems)


def test_damage_is_named(tmp_path, made):
    path, _ = made()
    data = path.read_bytes()
    for content in (b"", b"not HDF5", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(VaspError, match=r"vaspout.h5 is not a readable HDF5 file .* give OUTCAR"):
            read_vaspout(path)
    path, _ = made(change=lambda h5: h5.__delitem__(f"{DYNAMICS}/energies_tags"))
    with pytest.raises(VaspError, match=r"is damaged .*energies_tags"):
        read_vaspout(path)
    with pytest.raises(VaspError, match="does not exist"):
        read_vaspout(tmp_path / "gone.h5")
