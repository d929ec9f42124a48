"""Files of the stand-in through the reader that reads VASP's."""

import numpy as np
import pytest
from ase.io import read as ase_read

from leopold_model.vasp.import_command import as_json, read_run
from leopold_model.vasp.occmatrix import omc_matrices, write_occmatrix
from leopold_model.vasp.outcar import frames, read_outcar
from leopold_model.vasp.poscar import read_poscar, write_poscar
from leopold_model.vasp.vasprun import read_vasprun
from tests.standin.standin_case import MD, MGO, TIO2, command, crystal, here, prepare

STEPS = 4
CASES = {"mgo": (MGO, 40, "hole"), "tio2": (TIO2, 3, "electron")}


@pytest.fixture(scope="module", params=sorted(CASES))
def folder(request, tmp_path_factory):
    incar, site, carrier = CASES[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    prepare(directory, crystal(request.param), {**incar, **MD, "NSW": STEPS}, seed_site=site)
    here(directory)
    return directory, carrier


def test_every_step_is_read_and_the_carrier_found(folder):
    directory, carrier = folder
    run = read_run(directory)
    assert run.finished and len(run.steps) == STEPS
    assert all(s.complete and s.converged for s in run.steps)
    assert run.excess_electrons == (1 if carrier == "electron" else -1)
    steps = as_json(run)["steps"]
    for step, said in zip(run.steps, steps, strict=True):
        assert said["carrier_sites"] == [int(step.moments.argmax())]
        difference = step.occupations[:, 0] - step.occupations[:, 1]
        assert difference.argmax() == step.moments.argmax()
        assert np.isfinite(step.temperature) and np.isfinite(step.conserved)
    made = frames(run, carrier=carrier, n_carriers=1)
    assert len(made) == STEPS and all(f.labelled and f.stress is not None for f in made)


def test_outcar_vasprun_and_ase_agree(folder):
    directory, _ = folder
    run, xml = read_outcar(directory / "OUTCAR"), read_vasprun(directory / "vasprun.xml")
    images = ase_read(directory / "OUTCAR", index=":", format="vasp-out")
    assert len(xml.complete_steps) == len(images) == STEPS
    for step, other, image in zip(run.steps, xml.steps, images, strict=True):
        assert step.energy == pytest.approx(other.energy, abs=1e-8)
        np.testing.assert_allclose(step.forces, other.forces, atol=1e-6)
        np.testing.assert_allclose(step.positions, other.positions, atol=1e-5)
        np.testing.assert_allclose(step.stress, other.stress, atol=1e-8)
        assert step.temperature == pytest.approx(other.temperature, abs=0.02)
        np.testing.assert_array_equal(step.forces, image.get_forces())
        np.testing.assert_array_equal(step.moments, image.get_magnetic_moments())


def test_contcar_goes_on_where_the_run_ended(folder, tmp_path):
    directory, _ = folder
    atoms, velocities = read_poscar(directory / "CONTCAR")
    assert velocities is not None and np.abs(velocities).max() > 0
    write_poscar(tmp_path / "POSCAR", atoms, velocities)
    back, again = read_poscar(tmp_path / "POSCAR")
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-12)
    np.testing.assert_array_equal(again, velocities)


def test_imposed_occupations_are_acknowledged_and_put_the_carrier_there(folder, tmp_path):
    directory, carrier = folder
    incar, *_ = CASES["mgo" if carrier == "hole" else "tio2"]
    atoms, _ = read_poscar(directory / "POSCAR")
    symbol, shell = ("O", 1) if carrier == "hole" else ("Ti", 2)
    site = [i for i, s in enumerate(atoms.get_chemical_symbols()) if s == symbol][2]
    omc = prepare(tmp_path / "omc", atoms, {**incar, "OCCEXT": 1, "IBRION": 2, "NSW": 5})
    write_occmatrix(omc / "OCCMATRIX", omc_matrices({}, site, carrier=carrier, angular=shell))
    here(omc)
    run = read_outcar(omc / "OUTCAR")
    assert run.occ_banner.imposed and run.occ_banner.atoms == (site,)
    assert as_json(run)["steps"][-1]["carrier_sites"] == [site]
    assert not read_run(directory).occ_banner.imposed


@pytest.mark.parametrize("failure", ["kill@3", "truncate@3", "nelm@2", "glued@2", "delocalised"])
def test_failures(tmp_path, failure):
    directory = prepare(tmp_path / "run", crystal("mgo"), {**MGO, **MD, "NSW": STEPS}, seed_site=40)
    command(directory, LEOPOLD_STANDIN_FAIL=failure)
    run = read_outcar(directory / "OUTCAR")
    complete = [s.index for s in run.complete_steps]
    if failure.startswith(("kill", "truncate")):
        assert complete == [1, 2] and not run.finished
        assert "step 3 is incomplete and not used" in run.problems
        return
    assert complete == [1, 2, 3, 4]
    assert [s.converged for s in run.steps] == [not (failure == "nelm@2" and s.index == 2) for s in run.steps]
    assert [bool(s.unphysical) for s in run.steps] == [failure == "glued@2" and s.index == 2 for s in run.steps]
    if failure == "delocalised":
        assert all(s["carrier_sites"] == [] for s in as_json(run)["steps"])
