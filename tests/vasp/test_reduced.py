"""What a reduced run gives is what OUTCAR gives, to the bit."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.frames import content_hash
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.reduced import read_reduced, write_reduced
from leopold_model.vasp.run import VaspError, frames
from leopold_model.vasp.template import carrier_shells
from tests.standin.standin_case import MD, MGO, crystal, here, prepare

REAL = sorted((Path(__file__).parents[3] / "shared" / "data" / "vasp").glob("*.OUTCAR.gz"))
NOT_KEPT = {"moments_by_l", "charges", "charges_by_l"}
NOT_COMPARED = {"path", "steps"}


@pytest.fixture(scope="module")
def outcar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    prepare(folder, crystal("mgo", around=40), {**MGO, **MD, "NSW": 4, "LDAUPRINT": 2}, 40)
    here(folder)
    return folder / "OUTCAR"


def same(a, b) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (np.isnan(a) and np.isnan(b))
    if isinstance(a, dict) and a:
        return set(a) == set(b) and all(
            a[k][0] == b[k][0] and same(a[k][1], b[k][1]) and same(a[k][2], b[k][2]) for k in a
        )
    return a == b or (not a and not b)


def assert_same(found, run):
    for field in fields(run):
        if field.name not in NOT_COMPARED:
            assert same(getattr(found, field.name), getattr(run, field.name)), field.name
    assert len(found.steps) == len(run.complete_steps)
    for ours, theirs in zip(found.steps, run.complete_steps, strict=True):
        for field in fields(theirs):
            if field.name not in NOT_KEPT:
                assert same(getattr(ours, field.name), getattr(theirs, field.name)), (theirs.index, field.name)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_runs(path, tmp_path):
    run = read_outcar(path)
    write_reduced(tmp_path / "run.h5", run)
    assert_same(read_reduced(tmp_path / "run.h5"), run)


def test_frames_and_occupations_of_dynamics(outcar, tmp_path):
    run = read_outcar(outcar)
    write_reduced(tmp_path / "run.h5", run)
    found = read_reduced(tmp_path / "run.h5")
    assert_same(found, run)
    ours, theirs = (frames(r, carrier="hole", n_carriers=1) for r in (found, run))
    assert content_hash(ours) == content_hash(theirs) and len(ours) == 4
    (a,), (b,) = (carrier_shells(r, r.complete_steps[-1]).values() for r in (found, run))
    assert np.array_equal(a[1], b[1]) and np.array_equal(a[2], b[2])


def test_the_command_sets_outcar_aside_once_it_is_done(outcar, tmp_path):
    (tmp_path / "OUTCAR").write_bytes(outcar.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = CliRunner().invoke(main, ["reduce-vasp", "--set-aside"])
    assert done.exit_code == 0 and "run.h5: 4 complete steps" in done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["OUTCAR.reduced", "run.h5"]
    assert (tmp_path / "run.h5").stat().st_size < 0.5 * outcar.stat().st_size


def test_a_damaged_file_is_said(outcar, tmp_path):
    write_reduced(tmp_path / "run.h5", read_outcar(outcar))
    whole = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VaspError, match=r"cut\.h5 is not a readable HDF5 file.*reduce OUTCAR again"):
        read_reduced(tmp_path / "cut.h5")
    with pytest.raises(VaspError, match="not a readable HDF5 file"):
        read_reduced(outcar)
