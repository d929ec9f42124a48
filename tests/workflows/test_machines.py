"""Computers and codes from one file: made once, left alone afterwards, never changed behind a calculation's back."""

import pytest
import yaml
from aiida import orm
from click.testing import CliRunner

from leopold_workflows.cli import main

CLUSTER = {
    "hostname": "login.cluster.invalid", "work_dir": "/scratch/{username}", "procs_per_machine": 64,
    "mpirun": "srun -n {tot_num_mpiprocs}", "transport_options": {"username": "me", "port": 2222}, "poll_interval": 7,
}  # fmt: skip
CODES = {
    "vasp@cluster": {"executable": "/opt/vasp_gam", "plugin": "leopold.vasp", "prepend_text": "module load vasp"},
    "leopold@cluster": {"executable": "/home/me/bin/leopold", "mpi": False},
}


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """`setup(computers, codes)` runs the command on a file that says so."""
    monkeypatch.setattr("aiida.load_profile", lambda: None)  # the test's profile is loaded

    def run(computers=None, codes=None):
        file = tmp_path / "machines.yaml"
        file.write_text(yaml.safe_dump({"computers": computers or {}, "codes": codes or {}}))
        return CliRunner().invoke(main, ["setup", str(file)])

    return run


def test_what_is_missing_is_made_and_what_is_there_is_left(setup, aiida_profile_clean):
    done = setup({"cluster": CLUSTER}, CODES)
    assert done.exit_code == 0, done.output
    computer = orm.load_computer("cluster")
    assert (computer.transport_type, computer.scheduler_type) == ("core.ssh", "core.slurm")
    assert computer.get_mpirun_command() == ["srun", "-n", "{tot_num_mpiprocs}"]
    assert computer.get_default_mpiprocs_per_machine() == 64 and computer.get_workdir() == "/scratch/{username}"
    assert computer.is_configured and computer.get_configuration()["port"] == 2222
    assert computer.get_minimum_job_poll_interval() == 7
    vasp, leopold = orm.load_code("vasp@cluster"), orm.load_code("leopold@cluster")
    assert vasp.prepend_text == "module load vasp" and vasp.with_mpi and not leopold.with_mpi

    again = setup({"cluster": CLUSTER | {"poll_interval": 9, "transport_options": {"username": "you"}}}, CODES)
    assert again.exit_code == 0 and again.output.count("there already") == 3
    assert orm.load_code("vasp@cluster").uuid == vasp.uuid
    assert computer.get_configuration()["username"] == "you" and computer.get_minimum_job_poll_interval() == 9

    changed = setup({"cluster": CLUSTER | {"procs_per_machine": 32}}, CODES)
    assert changed.exit_code == 1 and "default_mpiprocs_per_machine = 64, not 32" in changed.output
    moved = setup(None, {"vasp@cluster": CODES["vasp@cluster"] | {"executable": "/opt/new/vasp_gam"}})
    assert moved.exit_code == 1 and "filepath_executable = '/opt/vasp_gam'" in moved.output


@pytest.mark.parametrize(
    ("computers", "codes", "words"),
    [
        ({"cluster": CLUSTER | {"scheduler": "slurm"}}, {}, "'slurm': choose one of core.direct"),
        ({"cluster": CLUSTER | {"transport": "ssh"}}, {}, "'ssh': choose one of core.local"),
        ({"cluster": CLUSTER | {"transport_options": {"user": "me"}}}, {}, "'user': choose one of allow_agent"),
        ({"cluster": CLUSTER | {"hostnam": "x"}}, {}, "did you mean 'hostname'"),
        ({}, {"vasp": CODES["vasp@cluster"]}, "name a code label@computer"),
        ({}, {"vasp@nowhere": CODES["vasp@cluster"]}, "no computer 'nowhere'"),
        ({"cluster": CLUSTER}, {"vasp@cluster": {"executable": "vasp_gam"}}, "executable"),
    ],
)
def test_a_file_with_a_fault_is_refused(setup, aiida_profile_clean, computers, codes, words):
    done = setup(computers, codes)
    assert done.exit_code == 1 and words in done.output, done.output


@pytest.mark.parametrize(
    ("computers", "codes", "field"),
    [
        ({"cluster": CLUSTER | {"hostname": "-oProxyCommand=touch ran"}}, {}, "hostname"),
        ({"cluster": CLUSTER | {"hostname": "host; touch ran"}}, {}, "hostname"),
        ({"../cluster": CLUSTER}, {}, "computers"),
        ({"cluster": CLUSTER}, {"a\nb@cluster": CODES["leopold@cluster"]}, "label@computer"),
    ],
)
def test_names_that_say_more_than_a_name_are_refused(setup, computers, codes, field):
    done = setup(computers, codes)
    assert done.exit_code == 1 and field in done.output
