"""What the monitor of running dynamics reads off the end of an OUTCAR, and when it speaks."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from aiida import orm

from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.run import frames
from leopold_workflows.vasp.monitors import dynamics, last_steps
from leopold_workflows.vasp.verdict import participation
from leopold_workflows.workchains.fpmd import FPMDWorkChain
from tests.standin.standin_case import MD, MGO, crystal, here, prepare

CARRIER = {"kind": "hole", "n": 1, "species": ["O"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six steps of dynamics of the MgO hole, which is spread over the band from the fourth on."""
    atoms = crystal("mgo", around=32)
    folder = prepare(tmp_path_factory.mktemp("dynamics"), atoms, {**MGO, **MD, "NSW": 6}, seed_site=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEOPOLD_STANDIN_FAIL", "delocalised@4")
        here(folder)
    return folder


def running(folder, **parameters):
    """A job whose OUTCAR lies in `folder`, and a transport to it."""
    node = SimpleNamespace(
        inputs=SimpleNamespace(
            carrier=orm.Dict(CARRIER),
            parameters=orm.Dict({"tebeg": 300.0, **parameters}),
            structure=orm.StructureData(ase=crystal("mgo")),
        ),
        get_remote_workdir=lambda: str(folder),
    )

    def execute(command):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return node, SimpleNamespace(exec_command_wait=execute)


def test_it_reads_what_the_reader_of_whole_files_reads(aiida_profile, folder):
    text = (folder / "OUTCAR").read_text()
    symbols = crystal("mgo").get_chemical_symbols()
    run = read_outcar(folder / "OUTCAR")
    expected = [participation(f, ["O"], 1) for f in frames(run, carrier="hole", n_carriers=1)]
    spread, temperature = last_steps(text, symbols, CARRIER)
    np.testing.assert_allclose(spread[:6], expected, rtol=1e-6)
    assert temperature == pytest.approx(run.steps[-1].temperature, abs=0.01)
    # a table that is being written is none
    cut = text[: text.rindex("magnetization (x)") + 700]
    assert len(last_steps(cut, symbols, CARRIER)[0]) == len(spread) - 1
    # nor one with a number that overflowed
    head, table = text[: text.rindex("magnetization (x)")], text[text.rindex("magnetization (x)") :]
    row = table.splitlines()[4]
    stars = table.replace(row, row[:-6] + "******", 1)
    assert len(last_steps(head + stars, symbols, CARRIER)[0]) == len(spread) - 1


def test_it_speaks_when_the_carrier_stays_spread_or_the_crystal_flies_apart(aiida_profile, folder):
    node, transport = running(folder)
    assert "spread over" in dynamics(node, transport, steps=3)
    assert dynamics(node, transport, steps=5) is None, "localised within the last five steps"
    assert dynamics(node, transport, steps=3, max_participation=100.0) is None
    cold, _ = running(folder, tebeg=20.0, teend=30.0)
    assert "more than 4 times 30 K" in dynamics(cold, transport, steps=50)
    assert dynamics(cold, transport, steps=50, max_temperature_factor=100.0) is None


def test_it_is_silent_before_there_is_anything_to_read(aiida_profile, tmp_path):
    node, transport = running(tmp_path)
    assert dynamics(node, transport) is None
    (tmp_path / "OUTCAR").write_text(" vasp.6.4.2\n")
    assert dynamics(node, transport) is None


def test_an_unknown_limit_is_named_before_anything_runs(aiida_profile):
    fault = FPMDWorkChain.spec().inputs["monitor"].validate(orm.Dict({"stepz": 5}))
    assert "unknown key 'stepz'" in fault.message and "max_participation" in fault.message
