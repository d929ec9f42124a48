"""OUTCAR and CONTCAR to nodes and exit codes: whole runs, killed runs, runs that were not what was asked for."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase import Atoms

from leopold_model.vasp.occmatrix import occmatrix_text
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.poscar import read_poscar
from leopold_workflows.calculations.functions_vasp import occupation_matrix
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.parser import LeopoldVaspParser
from leopold_workflows.vasp.verdict import MAX_PARTICIPATION, shortest

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "vasp"
N_STEPS = 6


@pytest.fixture
def parse(aiida_localhost):
    """Parse files as if a job with these inputs had left them: `parse(inputs, {name: bytes})` -> outputs, exit code."""

    def run(inputs, files):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type="aiida.calculations:leopold.vasp")
        for name in {"structure", "carrier", "parameters", "kpoints", "tags", "occmatrix"} & set(inputs):
            node.base.links.add_incoming(inputs[name].store(), LinkType.INPUT_CALC, name)
        for kind, potcar in inputs.potential.items():
            node.base.links.add_incoming(potcar, LinkType.INPUT_CALC, f"potential__{kind}")
        node.store()
        retrieved = orm.FolderData()
        for name, content in files.items():
            retrieved.base.repository.put_object_from_filelike(io.BytesIO(content), name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, "retrieved")
        retrieved.store()
        outputs, result = LeopoldVaspParser.parse_from_node(node, store_provenance=False)
        return outputs, result

    return run


@pytest.fixture
def md(vasp_inputs, tmp_path):
    """Inputs and files of a short trajectory of the MgO hole, computed by the stand-in in this process."""
    from leopold_model.standin.run import run
    from leopold_model.vasp.incar import incar_text
    from leopold_model.vasp.poscar import write_poscar
    from leopold_workflows.vasp.standin_potcar import potcar_text

    inputs = vasp_inputs("md", incar={"nsw": N_STEPS, "tebeg": 300, "potim": 1.0}, tags={"temperature": 300.0})
    (tmp_path / "INCAR").write_text(incar_text(inputs.parameters.get_dict()))
    write_poscar(tmp_path / "POSCAR", inputs.structure.get_ase())
    (tmp_path / "POTCAR").write_text(potcar_text("Mg_pv") + potcar_text("O"))
    (tmp_path / "KPOINTS").write_text("Gamma\n0\nGamma\n1 1 1\n0 0 0\n")
    out = io.StringIO()
    run(tmp_path, out)
    files = {name: (tmp_path / name).read_bytes() for name in ("OUTCAR", "CONTCAR")}
    return inputs, files | {"vasp_output": out.getvalue().encode()}, tmp_path


def test_every_step_of_a_whole_run(parse, md):
    inputs, files, folder = md
    outputs, result = parse(inputs, files)
    assert result.is_finished_ok
    frames = outputs["frames"].get_frames()
    run = read_outcar(folder / "OUTCAR")
    assert [f.step for f in frames] == list(range(1, N_STEPS + 1))
    for frame, step in zip(frames, run.steps, strict=True):
        assert frame.energy == step.energy and np.array_equal(frame.forces, step.forces)
        assert np.array_equal(frame.stress, step.stress) and np.array_equal(frame.occupations, step.occupations)
        assert np.array_equal(frame.moments, np.sign(step.moments.sum()) * step.moments)
        assert frame.converged and frame.run == "test" and frame.source == "fpmd" and frame.temperature == 300.0
    carrier = outputs["carrier"].get_dict()
    assert carrier["sites"] == list(frames[-1].carrier_sites)
    assert carrier["n_steps"] == carrier["n_converged"] == N_STEPS
    # what a next segment starts from is CONTCAR to the last digit, Cartesian
    atoms, velocities = read_poscar(folder / "CONTCAR")
    np.testing.assert_allclose(outputs["velocities"].get_array("velocities"), velocities, rtol=1e-14)
    ours = outputs["structure"].get_ase()
    assert np.abs(shortest(ours.positions - atoms.positions, ours.cell.array)).max() < 1e-12
    assert ours.get_chemical_symbols() == inputs.structure.get_ase().get_chemical_symbols()


@pytest.mark.parametrize("mark", ["magnetization (x)", "TOTAL-FORCE", "LOOP+", "onsite density matrix", "POSITION"])
def test_a_run_cut_inside_a_step_gives_the_steps_before(parse, md, mark):
    inputs, files, _ = md
    text = files["OUTCAR"]
    fourth = text.index(b"Iteration      4(")
    cut = text[: text.index(mark.encode(), fourth) + 200]
    # killed before CONTCAR of that step was written, or in the middle of writing it
    outputs, result = parse(inputs, {"OUTCAR": cut, "CONTCAR": files["CONTCAR"][:900]})
    assert result.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_OUT_OF_WALLTIME.status
    done = outputs["frames"].get_frames()
    whole = 4 if mark == "LOOP+" else 3
    assert len(done) == whole and f"after {whole} of {N_STEPS}" in result.exit_message
    # the last two steps stand in for CONTCAR: positions of the last one, velocities of the move that led there
    np.testing.assert_allclose(outputs["structure"].get_ase().positions, done[-1].positions, atol=1e-12)
    moved = shortest(done[-1].positions - done[-2].positions, done[-1].cell)
    np.testing.assert_allclose(outputs["velocities"].get_array("velocities"), moved / 1.0, atol=1e-12)


def test_a_run_cut_anywhere_ends_with_a_code_and_loses_no_complete_step(parse, md):
    inputs, files, folder = md
    text, whole = files["OUTCAR"], read_outcar(folder / "OUTCAR")
    codes = LeopoldVaspCalculation.exit_codes
    for end in [0, len(text) - 700, *np.random.default_rng(2).integers(0, len(text), 8)]:
        outputs, result = parse(inputs, {"OUTCAR": text[:end]})
        frames = outputs["frames"].get_frames() if "frames" in outputs else []
        wanted = codes.ERROR_OUT_OF_WALLTIME if frames else codes.ERROR_NO_COMPLETE_STEP
        assert result.exit_status == wanted.status, end
        assert len(frames) >= text[:end].count(b"LOOP+"), end
        assert [f.energy for f in frames] == [s.energy for s in whole.steps[: len(frames)]]


def test_a_contcar_of_a_later_step_is_not_used(parse, md):
    inputs, files, _ = md
    text = files["OUTCAR"]
    cut = text[: text.index(b"Iteration      4(")]
    outputs, _ = parse(inputs, {"OUTCAR": cut, "CONTCAR": files["CONTCAR"]})
    last = outputs["frames"].get_frames()[-1]
    np.testing.assert_allclose(outputs["structure"].get_ase().positions, last.positions, atol=1e-12)


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ({}, 310, "printed nothing"),
        ({"vasp_output": b"\n ERROR: no license \n"}, 310, "ERROR: no license"),
        ({"OUTCAR": b"", "vasp_output": b"Killed\n"}, 311, "Killed"),
        ({"OUTCAR": b" vasp.6.4.3 19Mar24\n"}, 311, "no complete"),
        ({"OUTCAR": bytes(range(256)) * 20}, 311, "no complete"),
    ],
)
def test_nothing_to_read_is_an_exit_code(parse, vasp_inputs, files, status, words):
    outputs, result = parse(vasp_inputs("static"), files)
    assert result.exit_status == status and words in result.exit_message
    assert "frames" not in outputs


def test_imposed_occupations_that_were_ignored(parse, md):
    inputs, files, _ = md
    inputs.parameters = orm.Dict(inputs.parameters.get_dict() | {"occext": 1})
    outputs, result = parse(inputs, files)
    assert result.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status
    assert outputs["frames"].base.attributes.get("sources") == {"omc": N_STEPS}, "never to be taken for data"


@pytest.mark.parametrize(
    ("listed", "printed", "imposed"),
    [
        ("", True, False),
        (" ATOM 34 Spin 1", True, False),
        (" ATOM 33 Spin 1", True, True),
        (" ATOM 33 Spin 1", False, False),
    ],
)
def test_imposed_occupations_are_believed_only_as_outcar_lists_and_prints_them(
    parse, md, mgo, tmp_path, listed, printed, imposed
):
    """Atom 33 was given: with the matrices that this OUTCAR prints for it, or with others."""
    inputs, files, _ = md
    inputs.parameters = orm.Dict(inputs.parameters.get_dict() | {"occext": 1})
    (tmp_path / "OUTCAR").write_bytes(files["OUTCAR"])
    found = read_outcar(tmp_path / "OUTCAR").complete_steps[-1].onsite[32]
    nominal = occupation_matrix(mgo.structure, mgo.carrier, mgo.vasp["hubbard"], orm.List([32]))
    inputs.occmatrix = (
        orm.SinglefileData(io.StringIO(occmatrix_text({32: found})), filename="OCCMATRIX") if printed else nominal
    )
    head, rest = files["OUTCAR"].split(b" Occupation set for the following atoms", 1)
    said = b" OCCEXT found - reading\n" + head + b" Occupation set for the following atoms\n" + listed.encode()
    _, result = parse(inputs, files | {"OUTCAR": said + rest})
    refused = LeopoldVaspCalculation.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status
    assert (result.exit_status != refused) == imposed


def test_an_electronic_loop_that_ran_out(parse, md):
    """As a single point: the same text with NELM at the number of iterations done and VASP 6's own message."""
    inputs, files, _ = md
    inputs.parameters = orm.Dict(inputs.parameters.get_dict() | {"nsw": 0, "ibrion": -1})
    text = files["OUTCAR"]
    second = text.rindex(b"\n", 0, text.index(b"Iteration      2("))
    one = text[: second + 1] + text[text.index(b" General timing") :]
    before = b"aborting loop because EDIFF is reached"
    assert before in one
    outputs, result = parse(inputs, {"OUTCAR": one})
    assert result.is_finished_ok, result.exit_message
    one = one.replace(before, b"aborting loop EDIFF was not reached (unconverged)")
    outputs, result = parse(inputs, {"OUTCAR": one})
    assert result.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED.status
    (frame,) = outputs["frames"].get_frames()
    assert not frame.converged


@pytest.mark.parametrize(
    ("name", "moment"), [("omc_anataseTiO2_55_localised", 0.749), ("omc_anataseTiO2_77_failed", None)]
)
def test_real_polaron_runs(parse, standin, name, moment):
    """VASP 5.4.4 with the occupation-matrix patch, after release: one holds the electron on Ti 17, one lost it."""
    import gzip

    from leopold_workflows.vasp import adapter
    from leopold_workflows.vasp.study import study

    path = REAL / f"{name}.OUTCAR.gz"
    if not path.is_file():
        pytest.skip(f"real VASP file {path.name} is not here")
    run = read_outcar(path)
    atoms = Atoms(run.symbols, positions=run.steps[-1].positions, cell=run.steps[-1].cell, pbc=True)
    shared = study(standin, material_name="tio2", structure=orm.StructureData(ase=atoms))
    tags = {"requested_sites": [16]}
    inputs = adapter.job_inputs(
        shared.vasp, shared.structure, shared.carrier, stage="static", run="anatase", sites=[16], tags=tags
    )
    outputs, result = parse(inputs, {"OUTCAR": gzip.decompress(path.read_bytes())})
    assert result.is_finished_ok, result.exit_message
    (frame,) = outputs["frames"].get_frames()
    truth = json.loads((REAL / "truth" / f"{path.stem}.truth.json").read_text())
    assert frame.energy == pytest.approx(truth["steps"][-1]["toten"], abs=1e-8)
    carrier = outputs["carrier"].get_dict()
    if moment:
        assert carrier["sites"] == [16] and carrier["moment"] == pytest.approx(moment, abs=5e-4)
        assert carrier["localised_fraction"] == 1.0
    else:
        assert carrier["localised_fraction"] == 0.0 and carrier["participation"] > 2 * MAX_PARTICIPATION


def test_messages_of_vasp_are_found_between_its_progress(parse, md):
    inputs, files, _ = md
    lines = files["vasp_output"].decode().splitlines()

    def printing(message):
        text = "\n".join([*lines[:8], message, *lines[8:]])
        outputs, result = parse(inputs, files | {"vasp_output": text.encode()})
        return {item["name"] for item in outputs["misc"]["notifications"]}, result.exit_status

    assert printing("") == (set(), 0)
    assert printing(" Error EDDDAV: Call to ZHEGV failed. Returncode =   6   1  16") == ({"edddav_zhegv"}, 0)
    assert printing(" ERROR FEXCP: supplied Exchange-correlation table") == ({"fexcp"}, 703)


def test_damaged_files_end_with_a_code(parse, md):
    inputs, files, _ = md
    random, codes = np.random.default_rng(4), {code.status for code in LeopoldVaspCalculation.exit_codes.values()}
    for round_ in range(4):
        damaged = {}
        for name, content in files.items():
            lines = content.splitlines(keepends=True)
            for k in random.integers(len(lines), size=random.integers(1, 30)):
                words = (b"", b"*" * 20, b"nan", b"-1", b"\xff\x00", b"999999999999")
                cut = random.integers(len(lines[k]) + 1)
                lines[k] = lines[k][:cut] + words[random.integers(len(words))] + lines[k][cut + 12 :]
            damaged[name] = b"".join(lines)
        outputs, result = parse(inputs, damaged)
        assert result.exit_status in {0, *codes}, (round_, result.exit_message)
        for output in outputs.values():
            output.store()  # with numbers that the database takes
