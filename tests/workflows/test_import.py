"""`aiida-leopold data import`: runs made elsewhere become frames with provenance, and a study begins with them."""

import hashlib
import io
import json
import re

import numpy as np
import pytest
import yaml
from aiida import orm
from click.testing import CliRunner

from leopold_model.frames import read_frames, write_frames
from leopold_workflows.cli import main
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.bonds import neighbours
from leopold_workflows.vasp.old_run import old_run

N_STEPS = 6


@pytest.fixture(scope="module")
def old_folder(tmp_path_factory):
    """A folder of dynamics run by hand: six steps of the MgO hole at 600 K, tags spelled as people spell them."""
    from leopold_model.standin.run import run
    from leopold_model.vasp.poscar import write_poscar
    from leopold_workflows.protocols import material
    from leopold_workflows.vasp.standin_potcar import potcar_text
    from leopold_workflows.vasp.study import supercell

    folder = tmp_path_factory.mktemp("old") / "md-600K"
    folder.mkdir()
    (folder / "INCAR").write_text(
        "ENCUT = 400 ; ISPIN = 2 ; ISYM = 0\nLREAL = A\nLASPH = .TRUE.\nISMEAR = 0; SIGMA = 0.05 # Gauss\n"
        f"NELECT = 447\nMAGMOM = 32*0 1 31*0\nLMAXMIX = 4\nLDAU = T\nLDAUL = -1 1\nLDAUU = 0 10\nLDAUJ = 0 0\n"
        f"LDAUPRINT = 2\nLORBIT = 11\nIBRION = 0\nNSW = {N_STEPS}\nPOTIM = 1\nTEBEG = 600\nTEEND = 600\nSMASS = 0\n"
    )
    atoms = supercell(material("mgo")["lattice"])
    near, vectors = neighbours(atoms, 32)
    atoms.positions[near] += 0.04 * vectors
    write_poscar(folder / "POSCAR", atoms)
    (folder / "POTCAR").write_text(potcar_text("Mg_pv") + potcar_text("O"))
    (folder / "KPOINTS").write_text("by hand\n0\nMonkhorst-Pack\n1 1 1\n0 0 0\n")
    run(folder, io.StringIO())
    return folder


@pytest.fixture
def command():
    """Run `aiida-leopold ...`; with `fails` the message, else the output."""

    def call(*arguments, fails=False):
        result = CliRunner().invoke(main, [str(a) for a in arguments], env={"COLUMNS": "200"})
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    return call


def imported(output: str) -> FrameSetData:
    return orm.load_node(int(re.search(r"FrameSetData<(\d+)>", output)[1]))


def test_a_run_becomes_frames(command, old_folder, mgo):
    output = command("data", "import", old_folder, "--stride", 2, "--label", "by hand")
    node = imported(output)
    assert "by hand: 3 frames" in output and re.search(r"md-600K +6 +3 +600 +32 \(3\)", output)
    frames = node.get_frames()
    assert [f.step for f in frames] == [1, 3, 5]
    for f in frames:
        assert (f.carrier, f.carrier_sites, f.run, f.source, f.temperature) == (
            "hole",
            (32,),
            "md-600K",
            "import",
            600.0,
        )
        assert f.labelled and f.occupations is not None and f.converged
    # the files tell the level of theory, in other words than the jobs of this study
    (settings,) = {f.settings for f in frames}
    assert settings == adapter.stage_settings(mgo.vasp, mgo.structure, mgo.carrier, "static") and settings in output


def test_provenance_keeps_inputs_and_hashes_and_no_licensed_or_large_file(command, old_folder):
    node = imported(command("data", "import", old_folder))
    function = node.creator
    assert function.process_label == "adopt_runs" and function.inputs.stride.value == 1
    run = function.inputs.run_01
    kept = set(run.base.repository.list_object_names())
    assert kept == {"INCAR", "KPOINTS", "POSCAR", "OUTCAR.head", "files.json", "frames.h5"}
    assert run.base.repository.get_object_content("INCAR") == (old_folder / "INCAR").read_text()
    head = run.base.repository.get_object_content("OUTCAR.head")
    assert "LDAUU" in head and "TOTAL-FORCE" not in head
    text = run.base.repository.get_object_content("files.json")
    told = json.loads(text)
    for name in ("OUTCAR", "POTCAR", "INCAR", "vasprun.xml", "CONTCAR"):
        content = (old_folder / name).read_bytes()
        assert told["files"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(told["potcars"]) == {"Mg", "O"}
    first, again = node, command("data", "import", old_folder)
    assert f"the same frames are in FrameSetData<{first.pk}>" in again
    assert str(old_folder.parent) not in text + head + json.dumps(run.base.attributes.all)


def test_several_runs_and_an_outcar_alone(command, old_folder, tmp_path):
    other = tmp_path / "copy"
    other.mkdir()
    (other / "OUTCAR").write_bytes((old_folder / "OUTCAR").read_bytes())
    output = command("data", "import", old_folder, other / "OUTCAR")
    node = imported(output)
    assert node.base.attributes.get("runs") == ["copy", "md-600K"] and node.n_frames == 2 * N_STEPS
    # without INCAR, KPOINTS and POTCAR the level of theory is not known, and said to be so
    assert "" in node.base.attributes.get("settings") and "settings unknown" in output
    vouched = imported(command("data", "import", other, "--settings", "feedbeeffeedbeef"))
    assert vouched.base.attributes.get("settings") == ["feedbeeffeedbeef"]
    assert vouched.creator.inputs.settings.value == "feedbeeffeedbeef", "who vouched is in the provenance"


def test_a_published_data_set(command, make_frames, tmp_path):
    path = tmp_path / "train.xyz"
    write_frames(path, make_frames(4, run="", settings="", source=""))
    node = imported(command("data", "import", path, "--stride", 3))
    frames = node.get_frames()
    assert [f.step for f in frames] == [1, 4] and {f.run for f in frames} == {"train"}
    assert frames[0].carrier_sites == (4,) and np.array_equal(frames[1].forces, read_frames(path)[3].forces)
    manifest = json.loads(node.creator.inputs.run_01.base.repository.get_object_content("files.json"))
    assert manifest["files"]["train.xyz"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_cannot_be_adopted_is_refused_with_a_remedy(command, old_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no OUTCAR" in command("data", "import", empty, fails=True)
    assert "give OUTCAR" in command("data", "import", old_folder / "vasprun.xml", fails=True)
    assert "name them by one --run" in command("data", "import", old_folder, old_folder, fails=True)
    assert "one --run for each PATH" in command("data", "import", old_folder, "--run", "a", "--run", "b", fails=True)
    text = (old_folder / "OUTCAR").read_bytes()
    (empty / "OUTCAR").write_bytes(b" OCCEXT found\n ATOM 33 Spin 1\n Occupation set for the following atoms\n" + text)
    assert "give the run that released them" in command("data", "import", empty, fails=True)
    (empty / "OUTCAR").write_bytes(re.sub(rb"NELECT =\s*447.0000", b"NELECT =     448.0000", text))
    assert "say --carrier electron or hole" in command("data", "import", empty, fails=True)
    spread = "the carrier is spread out in 6 of 6 steps"
    assert spread in command("data", "import", old_folder, "--carriers", 3, fails=True)
    (empty / "OUTCAR").write_bytes((empty / "OUTCAR").read_bytes()[:-3000])
    output = command("data", "import", empty, "--carrier", "hole", "--carriers", 1)
    assert "! empty: the run did not end by itself" in output
    node = imported(output)
    assert {f.carrier_sites for f in node.get_frames()} == {(32,)}


def test_a_study_begins_with_adopted_frames(command, old_folder, standin, leopold_code, tmp_path):
    frames = imported(command("data", "import", old_folder))
    study = {"material": "mgo", "vasp": standin.pk, "leopold": leopold_code.pk, "protocol": "fast", "frames": frames.pk}

    def launch(fails=False, **changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study | changes))
        return command("launch", "dynamics", path, "--dry-run", fails=fails)

    output = launch(test=frames.uuid, overrides={"learn": {"max_rounds": 7}})
    assert "max_rounds: 7" in output
    assert "rattle_seed" not in output, "there is no seed"
    assert "did you mean 'frames'?" in launch(fails=True, frame=3)
    assert "--frames 999999: no such node" in launch(fails=True, frames=999999)
    said = launch(fails=True, overrides={"vasp": {"incar": {"encut": 520}}})
    assert "frames: level of theory" in said and "--settings" in said
    assert re.search(r"The frames, then this study: ENCUT \d+ and 520$", said.strip()), said
    assert "host has" in launch(fails=True, overrides={"material": {"lattice": {"cell": [4.2, 4.2, 4.2]}}})
    assert launch(structure=str(old_folder / "POSCAR"))
    assert "not a readable structure file" in launch(fails=True, structure=str(old_folder / "INCAR"))


def test_the_node_of_a_run_is_the_same_for_the_same_files(old_folder):
    first, second = old_run(old_folder).store(), old_run(old_folder).store()
    assert first.base.caching.get_hash() == second.base.caching.get_hash()
