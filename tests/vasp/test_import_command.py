"""`leopold import-vasp` at the command line: what it prints, what it writes, and when it fails."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.frames import read_frames
from leopold_model.vasp import run as run_module
from tests.vasp.outcar_text import Sample

KEYS = {"index", "complete", "converged", "energy", "max_force", "moments", "occupations", "carrier_sites"}


@pytest.fixture
def run(tmp_path):
    def call(sample, *options, end=None, name="OUTCAR"):
        (tmp_path / name).write_text(sample.text()[:end])
        return CliRunner().invoke(main, ["import-vasp", str(tmp_path), *options])

    return call


def test_json_of_a_folder(run):
    sample = Sample(n_steps=4, unconverged=(3,), nelm=5)
    result = run(sample, "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert set(said) == {"version", "steps", "problems"}
    assert said["version"] == "6.4.2"
    for step, wanted in zip(said["steps"], sample.steps, strict=True):
        assert set(step) == KEYS
        assert step["complete"] and step["energy"] == wanted["energy"]
        assert step["max_force"] == pytest.approx(np.linalg.norm(wanted["forces"], axis=1).max())
        np.testing.assert_allclose(step["moments"], wanted["moment_by_l"].sum(1), atol=5e-4)
        assert np.shape(step["occupations"]) == (6, 2) and step["occupations"][2:] == [[0.0, 0.0]] * 4
    assert [s["index"] for s in said["steps"]] == [1, 2, 3, 4]
    assert [s["converged"] for s in said["steps"]] == [True, True, False, True]
    assert [s["carrier_sites"] for s in said["steps"]] == [[0], [1], [0], [1]]
    assert len(said["problems"]) == 1


def test_a_cut_file_gives_its_complete_steps_and_exit_code_zero(run):
    sample = Sample()
    end = sample.text().rindex("  free  energy   TOTEN")
    result = run(sample, "--json", end=end)
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [s["complete"] for s in said["steps"]] == [True, True, False]
    assert said["steps"][2]["energy"] is None and not said["steps"][2]["converged"]
    assert "step 3 is incomplete and not used" in said["problems"]


def test_nothing_usable_is_exit_code_one_and_still_json(run, tmp_path):
    sample = Sample()
    end = sample.text().index("  free  energy   TOTEN")
    result = run(sample, "--json", end=end)
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert [s["complete"] for s in said["steps"]] == [False] and any("nothing to use" in p for p in said["problems"])
    (tmp_path / "OUTCAR").write_text("")
    empty = CliRunner().invoke(main, ["import-vasp", str(tmp_path), "--json"])
    assert empty.exit_code == 1 and json.loads(empty.stdout)["steps"] == []


def test_folders_and_files_that_are_not_there_are_named(tmp_path):
    for path, message in ((tmp_path, "no OUTCAR"), (tmp_path / "gone", "does not exist")):
        result = CliRunner().invoke(main, ["import-vasp", str(path), "--json"])
        assert result.exit_code == 1 and message in result.output and str(path) in result.output


def test_table(run):
    result = run(Sample())
    assert result.exit_code == 0
    assert "complete steps: 3" in result.stdout
    sample = Sample()
    sample.text()
    for step in sample.steps:
        assert f"{step['energy']:.6f}" in result.stdout


def test_without_spin_everything_else_is_read(run):
    result = run(Sample(ispin=1), "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert all(s["complete"] and s["moments"] is None and s["carrier_sites"] == [] for s in said["steps"])
    assert any("ISPIN = 1" in p and "ISPIN = 2" in p for p in said["problems"])


def test_frames_are_written(run, tmp_path):
    out = tmp_path / "frames.h5"
    result = run(Sample(spin_down=True), "--json", "--frames", str(out))
    assert result.exit_code == 0, result.output
    made = read_frames(out)
    assert [f.carrier for f in made] == ["electron"] * 3  # one electron more than the neutral cell
    assert [f.carrier_sites for f in made] == [(0,), (1,), (0,)]
    assert all(f.run == tmp_path.name and f.labelled for f in made)
    assert all(f.moments[f.carrier_sites[0]] > 0.5 for f in made)
    hole = run(Sample(nelect=47.0), "--frames", str(out))
    assert hole.exit_code == 0 and read_frames(out)[0].carrier == "hole"


@pytest.fixture
def two_runs(tmp_path):
    """Folders of two runs of dynamics; `two_runs(second)` changes what the second prints."""

    def make(second=lambda text: text):
        for name, change in (("hot", lambda text: text), ("cold", second)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "OUTCAR").write_text(change(Sample().text()))
        return [str(tmp_path / name) for name in ("hot", "cold")]

    return make


def imported(*arguments):
    return CliRunner().invoke(main, ["import-vasp", *map(str, arguments)])


def test_several_runs_become_one_file_and_each_keeps_its_name(two_runs, tmp_path):
    out = tmp_path / "train.h5"
    result = imported(*two_runs(), "--frames", out)
    assert result.exit_code == 0, result.output
    assert [(f.run, f.step) for f in read_frames(out)] == [(r, s) for r in ("hot", "cold") for s in (1, 2, 3)]
    assert "hot: 3 frames, 1 electron" in result.stdout and result.stdout.endswith(f"{out}: 6 frames\n")
    last = imported(*two_runs(), "--frames", out, "--last", "--run", "a", "--run", "b")
    assert last.exit_code == 0 and [(f.run, f.step) for f in read_frames(out)] == [("a", 3), ("b", 3)]
    assert set(json.loads(imported(*two_runs(), "--json").stdout)) == set(two_runs())


def test_runs_that_do_not_belong_together_are_refused(two_runs, tmp_path):
    out = tmp_path / "train.h5"

    def refused(*arguments):
        result = imported(*arguments, "--frames", out)
        assert result.exit_code == 1 and not out.exists()
        return result.output

    assert "LDAUU of Ti is 7.5, in" in refused(*two_runs(lambda text: text.replace("LDAUU =   3.9", "LDAUU =   7.5")))
    hot, cold = two_runs()
    assert "called 'hot'" in refused(hot, hot)
    assert "give one --run for each PATH" in refused(hot, cold, "--run", "a")


@pytest.mark.parametrize(("tags", "expected"), [("600.0;   TEEND  =  600.0", [600.0] * 3), ("600;  TEEND = 900", None)])
def test_frames_of_dynamics_have_the_temperature_of_their_thermostat(two_runs, tmp_path, tags, expected):
    """By it runs are pooled; of a ramp each step has its own."""
    _, run = two_runs(lambda text: text.replace("   IBRION", f"   TEBEG  =  {tags} temperature\n   IBRION", 1))
    assert imported(run, "--frames", tmp_path / "f.h5").exit_code == 0
    found = [f.temperature for f in read_frames(tmp_path / "f.h5")]
    assert found == expected if expected else len(set(found)) == 3


def test_a_carrier_that_is_spread_out_makes_no_frames(run, tmp_path, monkeypatch):
    """The atom with the largest of many small moments is not where it sits."""
    monkeypatch.setattr(run_module, "LOCALISED_MOMENT", 10.0)
    result = run(Sample(), "--frames", str(tmp_path / "f.h5"))
    assert result.exit_code == 1 and "spread out in 3 of 3 steps" in result.output


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample(nelect=48.0), "--carrier"),
        (Sample(lorbit=0), "LORBIT = 0: no site moments; set LORBIT = 11"),
        (Sample(ispin=1), "ISPIN = 1: no site moments; set ISPIN = 2"),
        (Sample(occ_lines=(" OCCEXT found", "  ATOM   1 Spin  1")), "imposed"),
    ],
)
def test_frames_that_cannot_be_trained_on_are_refused(run, tmp_path, sample, message):
    result = run(sample, "--frames", str(tmp_path / "frames.h5"))
    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / "frames.h5").exists()
