"""The rule of precedence: OUTCAR, then vaspout.h5, then vasprun.xml, for each quantity of each step."""

import gzip

import numpy as np
import pytest

from leopold_model.vasp.outcar import frames
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.sources import read_run
from tests.vasp.outcar_text import Sample
from tests.vasp.vaspout_file import write_vaspout
from tests.vasp.vasprun_text import calculation, vasprun


@pytest.fixture
def folder(tmp_path):
    def call(sample, outcar=True, h5=False):
        text = sample.text()
        if outcar:
            (tmp_path / "OUTCAR").write_text(text)
        if h5:
            write_vaspout(tmp_path / "vaspout.h5", sample, (6, 4))
        return tmp_path

    return call


def test_a_whole_outcar_is_enough(folder):
    path = folder(Sample(), h5=True)
    (path / "vaspout.h5").write_bytes(b"damaged")
    (path / "vasprun.xml").write_text("damaged")
    run = read_run(path)
    assert run.path.endswith("OUTCAR") and len(run.complete_steps) == 3 and run.problems == []


def test_what_outcar_lacks_comes_from_the_next_file(folder):
    sample = Sample(nwrite=0, n_steps=5)
    run = read_run(folder(sample, h5=True))
    for step, wanted in zip(run.steps, sample.steps, strict=True):
        np.testing.assert_allclose(step.forces, wanted["forces"], atol=1e-12)
        np.testing.assert_allclose(step.positions, wanted["positions"], atol=1e-12)
        assert step.converged and not step.from_spheres  # OUTCAR's own word and matrices
    assert run.path.endswith("OUTCAR")
    assert any(p == "steps 2-4: positions, forces, stress from vaspout.h5" for p in run.problems)
    assert not any("no forces" in p for p in run.problems)
    assert len(frames(run, carrier="electron", n_carriers=1)) == 5


def test_a_step_of_another_energy_is_another_step(folder):
    path = folder(Sample(nwrite=0, n_steps=5))
    other = Sample(nwrite=0, n_steps=5, seed=1)
    other.text()
    write_vaspout(path / "vaspout.h5", other)
    run = read_run(path)
    assert [s.forces is None for s in run.steps] == [False, True, True, True, False]
    assert any("steps 2-4: no forces" in p for p in run.problems)


def test_vasprun_fills_in_forces(tmp_path):
    text = Sample(nwrite=0, n_steps=4, n_ti=1, n_o=1).text()
    energies = iter((-10, -20, -30, -40))
    lines = [
        f"  free  energy   TOTEN  = {next(energies):19.8f} eV\n" if line.startswith("  free  energy") else line
        for line in text.splitlines(True)
    ]
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (tmp_path / "vasprun.xml").write_text(vasprun("".join(calculation(k) for k in (1, 2, 3, 4))))
    run = read_run(tmp_path)
    assert run.path.endswith("OUTCAR.gz")
    np.testing.assert_array_equal([s.forces[0, 0] for s in run.steps][1:3], [2, 3])
    assert run.steps[0].forces[0, 0] != 1 and all(s.moments is not None for s in run.steps)
    assert "steps 2-3: positions, forces, stress from vasprun.xml" in run.problems


def test_without_a_complete_step_in_outcar_the_next_file_serves(folder):
    path = folder(Sample(), h5=True)
    text = (path / "OUTCAR").read_text()
    (path / "OUTCAR").write_text(text[: text.index("  free  energy   TOTEN")])
    run = read_run(path)
    assert run.path.endswith("vaspout.h5") and len(run.complete_steps) == 3
    (path / "vaspout.h5").unlink()
    run = read_run(path)
    assert run.path.endswith("OUTCAR") and not run.complete_steps
    (path / "vasprun.xml").write_text(vasprun(calculation(1)))
    assert read_run(path).path.endswith("vasprun.xml")


def test_files_are_known_by_their_content(folder):
    path = folder(Sample(), h5=True)
    (path / "vasprun.xml").write_text(vasprun(calculation(1)))
    for name, steps in (("OUTCAR", 3), ("vaspout.h5", 3), ("vasprun.xml", 1)):
        (path / name).rename(path / "renamed")
        assert len(read_run(path / "renamed").complete_steps) == steps
    with pytest.raises(VaspError, match=r"no OUTCAR, vaspout\.h5, vasprun\.xml in this folder"):
        (path / "renamed").unlink()
        read_run(path)


def test_a_damaged_file_alone_is_said(tmp_path):
    (tmp_path / "vaspout.h5").write_bytes(b"damaged")
    with pytest.raises(VaspError, match="not a readable HDF5 file"):
        read_run(tmp_path)
