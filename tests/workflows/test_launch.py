"""`aiida-leopold launch`: what is wrong is said in one message, before anything is submitted."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.exceptions import ProfileConfigurationError
from click.testing import CliRunner

from leopold_model.frames import Frame, write_frames
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.structures import to_structure
from leopold_workflows.cli import main
from leopold_workflows.protocols import FOLDER


@pytest.fixture
def launch(standin, leopold_code, tmp_path):
    """`launch(overrides, *options)` of an MgO study, as a dry run."""

    def call(overrides=None, *options, vasp=str(standin.pk), leopold=str(leopold_code.pk), text=None):
        path = tmp_path / "overrides.yaml"
        path.write_text(yaml.safe_dump(overrides or {}) if text is None else text)
        arguments = ["launch", "dynamics", "mgo", "--vasp", vasp, "--leopold", leopold, "--protocol", "fast"]
        return CliRunner().invoke(main, [*arguments, "--overrides", str(path), "--dry-run", *options])

    return call


def test_a_dry_run_prints_the_inputs_and_submits_nothing(launch):
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    result = launch({"fpmd": {"steps": 11}})
    assert result.exit_code == 0, result.output
    assert "steps: 11" in result.output
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_a_dry_run_says_what_vasp_will_read_and_what_it_costs(launch):
    seed = {"temperatures": [600, 900], "runs_per_temperature": 2, "relaxation_steps": 50}
    dynamics = {"steps": 1000, "segment_steps": 300}
    options = {"resources": {"num_machines": 2, "num_mpiprocs_per_machine": 8}, "max_wallclock_seconds": 7200}
    learn = {"max_labels": 30, "max_rounds": 3}
    overrides = {"seed": seed, "fpmd": dynamics, "learn": learn, "vasp": {"options": options}}
    result = launch(overrides, "--step-seconds", "36")
    assert result.exit_code == 0, result.output
    for stage in ("relaxation with imposed occupations", "dynamics (TEBEG = TEEND = 600, 900 K)", "label, released"):
        assert f"{stage}" in result.output
    incar = result.output.split("INCAR  seed, dynamics")[1].split("INCAR")[0]
    assert "NELECT    = 447.0" in incar and "IBRION    = 0" in incar and "! " in incar
    assert (
        "KPOINTS  1 x 1 x 1" in result.output and "OCCMATRIX" in result.output and "O   O, 6 electrons" in result.output
    )
    rows = {line[:20].strip(): line[20:].split() for line in result.output.splitlines()}
    # 36 s on two nodes are 0.02 node-hours; five runs of four segments; two runs for each label
    assert rows["seed, dynamics"] == ["20", "5000", "100", "80"]
    assert rows["seed, relaxations"] == ["2", "100", "2", "8"]
    assert rows["labels (30)"] == ["60", "60", "1.2", "240"]
    assert rows["training"][0] == rows["exploration"][0] == "3"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"seed": {"strid": 3}}, "overrides of seed: unknown key 'strid': did you mean 'stride'?"),
        ({"sede": {}}, "unknown key 'sede': did you mean 'seed'?"),
        ({"vasp": {"incar": {"ispin": 1}}}, "ISPIN = 1: no site moments to find the carrier by; set ISPIN = 2"),
        ({"vasp": {"incar": {"encutt": 500}}}, "ENCUTT is not an INCAR tag: did you mean ENCUT?"),
        (
            {"train": {"parameters": {"epoch": 3}}},
            "Error: parameters of leopold.train: unknown key 'epoch': did you mean",
        ),
        ({"vasp": {"kpoints": 2}}, "overrides of vasp: kpoints = 2: give a mesh"),
        ({"material": {"potentials": {"O": "O_x"}}}, "no POTCAR 'O_x' for kind 'O' in family 'leopold-standin'"),
        ({"material": {"hubbard": {"Oo": {"l": 1}}}}, "material mgo: hubbard.Oo = 'Oo': no chemical symbol"),
        (["seed"], "overrides: ['seed']; give one mapping per protocol name"),
    ],
)
def test_faults_in_the_overrides_are_named(launch, overrides, words):
    result = launch(overrides)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert words in result.output


def test_overrides_lie_over_those_of_a_study_file(standin, leopold_code, tmp_path):
    """A changed temperature does not lose the queue."""
    study = {"material": "mgo", "protocol": "fast", "vasp": standin.pk, "leopold": leopold_code.pk}
    study["overrides"] = {"vasp": {"options": {"queue_name": "cpu"}}, "fpmd": {"steps": 7}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "more.yaml").write_text("fpmd: {steps: 11}\nvasp: {incar: {encut: 520}}\n")
    arguments = ["launch", "dynamics", str(tmp_path / "study.yaml"), "--overrides", str(tmp_path / "more.yaml")]
    result = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "queue_name: cpu" in result.output and "steps: 11" in result.output and "ENCUT     = 520" in result.output


def test_a_node_of_another_kind_is_refused(launch, leopold_code):
    result = launch({}, "--frames", str(leopold_code.pk))
    assert result.exit_code == 1 and "of class InstalledCode, not FrameSetData" in result.output


def test_a_vasp_of_the_gamma_point_takes_no_other_mesh(launch, aiida_localhost):
    gamma = orm.InstalledCode(label="gam", computer=aiida_localhost, filepath_executable="/opt/vasp/vasp_gam").store()
    result = launch({"vasp": {"kpoints": [2, 2, 1]}}, "--potential-family", "leopold-standin", vasp=str(gamma.pk))
    assert result.exit_code == 1 and "kpoints = [2, 2, 1], but gam@localhost is vasp_gam" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yaml"], "none.yaml: no such file; give that of a study or a material"),
        (["mgo", "--structure", "POSCARR"], "--structure POSCARR: no such file, and no such node in this profile"),
        (["mgo", "--configurations", "x.h5"], "--configurations x.h5: no such file, and no such node"),
    ],
)
def test_a_file_that_is_not_there_is_said_to_be_one(standin, leopold_code, arguments, words):
    codes = ["--vasp", str(standin.pk), "--leopold", str(leopold_code.pk)]
    result = CliRunner().invoke(main, ["launch", "dynamics", *arguments, *codes, "--dry-run"])
    assert result.exit_code == 1 and words in result.output


def test_a_dry_run_of_patterns_says_the_same(standin, leopold_code, tmp_path):
    """Of a slab with four vacancies and their eight electrons."""
    path = tmp_path / "study.yaml"
    learn = {"max_labels": 30, "max_rounds": 3}
    patterns = {
        "learn": learn,
        "label": {"relaxation_steps": 50},
        "surface": {"sweep": [0.125], "treatments": ["none"]},
    }
    study = {"material": "tio2_110", "protocol": "fast", "vasp": standin.pk, "leopold": leopold_code.pk}
    path.write_text(yaml.safe_dump({**study, "overrides": {"patterns": patterns}}))
    result = CliRunner().invoke(main, ["launch", "patterns", str(path), "--dry-run", "--step-seconds", "36"])
    assert result.exit_code == 0, result.output
    without, imposed, released = result.output.split("INCAR  ")[1:]
    assert "ISPIN     = 1" in without and "OCCEXT    = 1" in imposed and "OCCEXT" not in released
    slab = load_lattice("tio2_110").supercell("6x4")
    perfect = to_structure(slab, np.zeros(slab.n_sites, np.int8)).atoms.get_chemical_symbols()
    (electrons,) = (float(line.split()[2]) for line in released.splitlines() if line.startswith("NELECT"))
    # neutral: four oxygen atoms are gone with the six electrons each brought; the carriers are among the others
    assert electrons == 10 * perfect.count("Ti") + 6 * (perfect.count("O") - 4)
    (moments,) = (line.split("=")[1].split("!")[0].split() for line in released.splitlines() if "MAGMOM" in line)
    assert sum(int(m.split("*")[0]) if m.endswith("*1") else m == "1" for m in moments) == 8
    rows = {line[:21].strip(): line[21:].split() for line in result.output.splitlines()}
    assert rows["labels (30)"] == ["60", "3000", "30", "60"] and rows["annealing"][0] == "3"


def test_what_was_submitted_is_told_to_machines_too(standin, leopold_code, monkeypatch):
    node = SimpleNamespace(pk=7, uuid="u", process_label="PolaronDynamicsWorkChain")
    monkeypatch.setattr("aiida.engine.submit", lambda builder: node)
    arguments = ["launch", "dynamics", "mgo", "--vasp", str(standin.pk), "--leopold", str(leopold_code.pk)]
    told = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(told.stdout) == {"pk": 7, "uuid": "u"}
    assert "`verdi daemon start`" in told.stderr, "of this profile no daemon runs"
    assert "PolaronDynamicsWorkChain<7>; `aiida-leopold show status 7`" in CliRunner().invoke(main, arguments).output


def test_without_a_profile_there_is_one_message(monkeypatch):
    def missing(*_):
        raise ProfileConfigurationError("no default profile defined: None\n{}")

    monkeypatch.setattr("aiida.load_profile", missing)
    result = CliRunner().invoke(main, ["show", "status", "1"])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "no default profile defined" in result.output and "verdi presto" in result.output


def test_a_new_host_is_a_file(standin, leopold_code, tmp_path):
    """Whatever a study needs of its crystal is in the YAML, wherever that lies."""
    recipe = yaml.safe_load((FOLDER / "materials" / "anatase.yaml").read_text())

    def call(change):
        path = tmp_path / "host.yaml"
        path.write_text(yaml.safe_dump({**recipe, **change}))
        arguments = ["launch", "dynamics", str(path), "--vasp", str(standin.pk), "--leopold", str(leopold_code.pk)]
        return CliRunner().invoke(main, [*arguments, "--protocol", "fast", "--dry-run"])

    good = call({"incar": {"system": "my anatase", "encut": 350}})
    assert good.exit_code == 0, good.output
    assert "SYSTEM    = my anatase" in good.output and "ENCUT     = 350" in good.output
    assert "NELECT    = 793.0" in good.output  # 36 x (10 + 2 x 6), and one more
    for change, words in (
        ({"carier": {}}, "unknown key 'carier': did you mean 'carrier'?"),
        ({"temperatures": [0]}, "temperatures.0 = 0: input should be greater than 0"),
        ({"hubbard": {"Ti": {"l": 2}}}, "hubbard.Ti.u = {'l': 2}: field required"),
        ({"carrier": recipe["carrier"] | {"species": ["Zr"]}}, "carrier.species: Zr is not in the crystal"),
        ({"carrier": recipe["carrier"] | {"formal_charges": {"Ti": 3, "O": -2}}}, "has a charge of -4"),
        ({"carrier": recipe["carrier"] | {"formal_charges": {"Ti": 4}}}, "formal_charges: none for O"),
        ({"incar": {"encutt": 350}}, "ENCUTT is not an INCAR tag"),
    ):
        result = call(change)
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), (change, result.output)
        assert words in result.output


def test_a_demo_of_no_material_leaves_nothing_behind(tmp_path):
    result = CliRunner().invoke(main, ["demo", "tio3", "--folder", str(tmp_path / "demo")])
    assert result.exit_code == 1 and "no material tio3: did you mean 'tio2'?" in result.output
    assert not (tmp_path / "demo").exists()


def test_a_barrier_needs_a_model_and_a_hop(standin, leopold_code, make_model):
    def call(*options):
        arguments = ["launch", "barrier", "mgo", "--vasp", str(standin.pk), "--leopold", str(leopold_code.pk)]
        return CliRunner().invoke(main, [*arguments, "--dry-run", *options])

    model = str(make_model().store().pk)
    good = call("--model", model, "--sites", "32", "33", "--protocol", "fast")
    assert good.exit_code == 0, good.output
    assert "images: 5" in good.output
    assert "give either `sites`" in call("--model", model).output
    assert "no such class below" in call("--model", model, "--pathway", "O-O").output
    assert "--model 99999: no such node" in call("--model", "99999", "--sites", "32", "33").output


def test_patterns_are_launched_for_a_lattice(standin, leopold_code, tmp_path):
    def call(*options, material="tio2_110_thin", overrides=None):
        path = tmp_path / "overrides.yaml"
        path.write_text(yaml.safe_dump({"patterns": overrides or {}}))
        arguments = ["launch", "patterns", material, "--vasp", str(standin.pk), "--leopold", str(leopold_code.pk)]
        return CliRunner().invoke(main, [*arguments, "--overrides", str(path), "--dry-run", *options])

    good = call("--protocol", "fast")
    assert good.exit_code == 0, good.output
    assert "max_labels: 144" in good.output and "supercell: 4x2" in good.output
    (tmp_path / "measured.csv").write_text("position\n3\n")
    for result, words in (
        (call(material="mgo"), "has no section `patterns`"),
        (call("--lattice", "tio2_111"), "no such file, and none of"),
        (call("--measured", str(tmp_path / "measured.csv")), "give `x` and `y` in Angstrom"),
        (call(overrides={"learn": {"per_rounds": 3}}), "did you mean 'per_round'"),
        (call(overrides={"counts": {"VO": 2, "polaron": 3}}), "need 4 polaron"),
        (call(overrides={"surface": {"area": "1x4", "counts": {"VO": 1, "polaron": 2}, "sweep": []}}), "too small"),
        (call(overrides={"train": {"parameters": {"epoch": 3}}}), "did you mean 'epochs'"),
    ):
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
        assert words in result.output


def test_yaml_that_is_none_and_codes_and_families_that_are_not_there_are_named(launch):
    for result, words in (
        (launch(text="seed: {stride: 3"), "overrides.yaml is not valid YAML"),
        (launch(vasp="vasp@nowhere"), "--vasp vasp@nowhere: no such code in this profile"),
        (launch(leopold="leopold@nowhere"), "--leopold leopold@nowhere: no such code"),
        (launch(None, "--potential-family", "PBE.54"), "potential_family = 'PBE.54': no POTCAR family of that name"),
    ):
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
        assert words in result.output


def test_configurations_come_from_a_file(launch, mgo, tmp_path):
    atoms = mgo.structure.get_ase()
    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier="hole", carrier_sites=(40,), run="a")
    write_frames(tmp_path / "starts.h5", [frame])
    result = launch(None, "--configurations", str(tmp_path / "starts.h5"))
    assert result.exit_code == 0 and "configurations" in result.output, result.output
    write_frames(tmp_path / "starts.h5", [replace(frame, carrier_sites=(3,))])
    result = launch(None, "--configurations", str(tmp_path / "starts.h5"))
    assert result.exit_code == 1 and "configurations: a: sites: atom 3 is Mg" in result.output, result.output
