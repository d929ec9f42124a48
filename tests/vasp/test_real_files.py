"""Real VASP files (5.2 to 6.3) against values read from them by other means, and against ASE and pymatgen.

The files are not part of the project; without them these tests are skipped.
"""

import gzip
import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.vasp.import_command import read_run
from leopold_model.vasp.outcar import KILOBAR, frames, read_outcar, stream_outcar
from leopold_model.vasp.run import Run, VaspError

DATA = Path(__file__).parents[3] / "shared" / "data" / "vasp"
NAMES = sorted(p.name.removesuffix(".truth.json") for p in (DATA / "truth").glob("*.truth.json"))
OUTCARS = [n for n in NAMES if n.endswith("OUTCAR")]
XMLS = [n for n in NAMES if n.endswith("xml")]

pytestmark = pytest.mark.skipif(not NAMES, reason=f"no real VASP files in {DATA}")


@cache
def truth(name: str) -> dict:
    return json.loads((DATA / "truth" / f"{name}.truth.json").read_text())


@cache
def run(name: str) -> Run:
    return read_run(DATA / f"{name}.gz")


def complete(name: str) -> list[dict]:
    return [s for s in truth(name)["steps"] if s.get("toten") is not None]


@pytest.mark.parametrize("name", OUTCARS)
def test_header(name):
    said, found = truth(name)["header"], run(name)
    assert found.version == said["version"]
    for tag in ("ispin", "nsw", "ibrion", "nelm", "lorbit", "nwrite"):
        assert getattr(found, tag) == int(said[tag]), tag
    assert found.n_atoms == len(found.symbols) == int(said["nions"])
    assert found.nelect == float(said["nelect"])
    assert found.ediff == float(said["ediff"])
    assert found.finished == truth(name)["finished"]
    for tag in ("ldau_l", "ldau_u", "ldau_j"):
        assert getattr(found, tag) == ([float(v) for v in said[tag].split()] if said[tag] else []), tag


@pytest.mark.parametrize("name", OUTCARS)
def test_every_complete_step_has_the_printed_values(name):
    steps = run(name).complete_steps
    assert [s.index for s in steps] == [s["ionic"] for s in complete(name)]
    for step, said in zip(steps, complete(name), strict=True):
        assert step.energy == said["toten"]
        assert step.n_electronic == said["n_electronic"]
        assert step.converged == said["converged_verdict"]
        assert len(step.forces) == said["n_forces"]
        np.testing.assert_array_equal(step.forces[[0, -1]], [said["force_atom1"], said["force_last"]])
        np.testing.assert_array_equal(step.positions[0], said["pos_atom1"])
        assert step.max_force == pytest.approx(said["fmax"], rel=1e-12)
        assert step.cell_moment == (said["total_moment"][0] if said["total_moment"] else None)
        for table, total, parts in (
            ("total charge", step.charges, step.charges_by_l),
            ("magnetization (x)", step.moments, step.moments_by_l),
        ):
            printed = said.get(f"step:{table}")
            if printed is None:
                assert total is None, table
                continue
            np.testing.assert_array_equal(total, printed["tot"])
            rows = np.column_stack([parts, total])[[0, -1]]
            np.testing.assert_array_equal(rows, printed["rows_first_last"])


@pytest.mark.parametrize("name", OUTCARS)
def test_onsite_matrices_are_the_last_set_of_each_step(name):
    found = Run()
    steps = [s for s in stream_outcar(DATA / f"{name}.gz", found) if s.complete]
    for step, said in zip(steps, complete(name), strict=True):
        if "onsite_traces" not in said:
            assert step.onsite is None and step.from_spheres == (step.moments is not None)
            continue
        assert not step.from_spheres
        assert {a + 1 for a in step.onsite} == {int(a) for a in said["onsite_traces"]}
        for atom, (shell, up, down) in said["onsite_traces"].items():
            assert step.onsite[int(atom) - 1][0] == shell
            np.testing.assert_allclose(step.occupations[int(atom) - 1], [up, down], atol=1e-9)
        largest = said["onsite_argmax"]
        _, up, down = step.onsite[largest["atom"] - 1]
        np.testing.assert_array_equal([up, down], [largest["matrix_up"], largest["matrix_dn"]])


@pytest.mark.parametrize("name", XMLS)
def test_vasprun(name):
    said, found = truth(name), run(name)
    steps = [s for s in said["steps"] if s["complete"]]
    assert found.version == said["version"] and found.finished == said["closed"]
    assert len(found.complete_steps) == len(steps)
    assert len(found.steps) - len(steps) in (0, 1)
    for step, printed in zip(found.complete_steps, steps, strict=True):
        assert step.energy == float(printed["energy"]["e_fr_energy"])
        assert step.n_electronic == printed["n_scsteps"]
        np.testing.assert_array_equal(step.forces[[0, -1]], [printed["forces_first"], printed["forces_last"]])
        stress = -KILOBAR * np.array([printed["stress_first"], printed["stress_last"]])
        np.testing.assert_allclose(step.stress[[0, 2]], stress, rtol=1e-12)
        fractional = np.linalg.solve(step.cell.T, step.positions.T).T[[0, -1]]
        np.testing.assert_allclose(fractional, [printed["positions_first"], printed["positions_last"]], atol=1e-12)
        assert step.moments is None and step.occupations is None
    assert any("no site moments" in p for p in found.problems)
    with pytest.raises(VaspError, match="OUTCAR"):
        frames(found, carrier="electron", n_carriers=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_what_the_file_holds(name):
    """`leopold import-vasp FILE --json` of every file, against the values read by other means."""
    result = CliRunner().invoke(main, ["import-vasp", str(DATA / f"{name}.gz"), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert set(said) == {"version", "steps", "problems"}
    keys = {"index", "complete", "converged", "energy", "max_force", "moments", "occupations", "carrier_sites"}
    assert said["steps"] and all(set(step) == keys for step in said["steps"])
    found = [step for step in said["steps"] if step["complete"]]
    if name in XMLS:
        printed = [float(s["energy"]["e_fr_energy"]) for s in truth(name)["steps"] if s["complete"]]
        assert [s["energy"] for s in found] == printed and all(s["moments"] is None for s in found)
    else:
        assert [s["index"] for s in found] == [s["ionic"] for s in complete(name)]
        for step, wanted in zip(found, complete(name), strict=True):
            assert (step["energy"], step["converged"]) == (wanted["toten"], wanted["converged_verdict"])
            assert step["max_force"] == pytest.approx(wanted["fmax"], rel=1e-12)
            table, traces = wanted.get("step:magnetization (x)"), wanted.get("onsite_traces")
            assert step["moments"] == (table and table["tot"])
            assert (step["occupations"] is None) == (traces is None and table is None)
            if table and not traces:  # from the tables of the spheres, which is said
                up, down = np.transpose(step["occupations"])
                np.testing.assert_allclose(up - down, table["tot"], atol=1e-9)
                assert any("those of the LORBIT tables" in p for p in said["problems"])
            for atom, (_, up, down) in (traces or {}).items():
                np.testing.assert_allclose(step["occupations"][int(atom) - 1], [up, down], atol=1e-4)
    for step in said["steps"]:
        assert step["complete"] or any(f"step {step['index']} is incomplete" in p for p in said["problems"])


def test_outcar_and_vasprun_of_one_run_agree():
    a, b = run("aiida_magmom_000.OUTCAR"), run("aiida_magmom_000.vasprun.xml")
    for x, y in zip(a.steps, b.steps, strict=True):
        assert x.energy == y.energy
        np.testing.assert_allclose(x.cell, y.cell, atol=1e-8)
        np.testing.assert_allclose(x.positions, y.positions, atol=1e-5)
        np.testing.assert_allclose(x.stress, y.stress, atol=1e-5 * KILOBAR)
        assert y.converged <= x.converged  # eight decimals cannot prove an EDIFF of 1e-9


@pytest.mark.parametrize(
    ("name", "sites"),
    [("omc_anataseTiO2_55_localised.OUTCAR", [16]), ("omc_anataseTiO2_77_failed.OUTCAR", [])],
)
def test_where_the_carrier_sits(name, sites):
    result = CliRunner().invoke(main, ["import-vasp", str(DATA / f"{name}.gz"), "--json"])
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert [s["carrier_sites"] for s in said["steps"]] == [sites]
    assert len(said["steps"][0]["occupations"]) == 108
    # a patched executable that imposed nothing
    assert not run(name).occ_banner.imposed


def test_impossible_occupations_are_said():
    assert any("atom 1 (from 0) are impossible" in p for p in run("pmg_merged_numbers.OUTCAR").problems)


def test_a_killed_run_keeps_its_last_step_as_incomplete():
    steps = run("derived_cut_midmag_step3.OUTCAR").steps
    assert [s.complete for s in steps] == [True, True, False]
    assert steps[-1].moments is None and np.isnan(steps[-1].energy)


def test_a_real_file_cut_at_many_places(tmp_path):
    name = "aiida_magmom_000.OUTCAR"
    text = gzip.decompress((DATA / f"{name}.gz").read_bytes())
    whole = run(name)
    path = tmp_path / "OUTCAR"
    for end in np.random.default_rng(1).integers(0, len(text), 40):
        path.write_bytes(text[:end])
        found = read_outcar(path).complete_steps
        assert [s.energy for s in found] == [s.energy for s in whole.steps][: len(found)]
        assert [s.moments[0] for s in found] == [s.moments[0] for s in whole.steps][: len(found)]
        assert len(found) >= text[:end].count(b"LOOP+")


@pytest.mark.parametrize("name", [n for n in OUTCARS if "derived" not in n])
def test_against_ase(name, tmp_path):
    read = pytest.importorskip("ase.io").read
    path = tmp_path / "OUTCAR"
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    images = read(path, index=":", format="vasp-out")
    found = run(name)
    assert len(images) == len(found.complete_steps)
    for image, step in zip(images, found.complete_steps, strict=True):
        assert image.get_chemical_symbols() == found.symbols
        assert image.get_potential_energy(force_consistent=True) == step.energy
        np.testing.assert_array_equal(image.get_forces(apply_constraint=False), step.forces)
        np.testing.assert_allclose(image.positions, step.positions, atol=1e-9)
        np.testing.assert_allclose(image.cell.array, step.cell, atol=1e-9)
        if "stress" in image.calc.results:
            np.testing.assert_allclose(image.get_stress(voigt=False), step.stress, atol=1e-10)
        if step.moments is not None:
            np.testing.assert_array_equal(image.get_magnetic_moments(), step.moments)


@pytest.mark.parametrize("name", [n for n in OUTCARS if "derived" not in n])
def test_against_pymatgen(name):
    outputs = pytest.importorskip("pymatgen.io.vasp.outputs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcar = outputs.Outcar(str(DATA / f"{name}.gz"))
    found = run(name)
    last = found.complete_steps[-1]
    assert outcar.final_fr_energy == pytest.approx(last.energy, abs=1e-8)
    assert outcar.nelect == pytest.approx(found.nelect, abs=1e-3)
    if last.moments is not None:
        assert [m["tot"] for m in outcar.magnetization] == last.moments.tolist()
        assert [c["tot"] for c in outcar.charge] == last.charges.tolist()
    if last.onsite:
        outcar.read_onsite_density_matrices()
        matrices = outcar.data["onsite_density_matrices"][-len(last.onsite) :]
        for theirs, (_, (_, up, down)) in zip(matrices, sorted(last.onsite.items()), strict=True):
            np.testing.assert_array_equal(list(theirs.values()), [up, down])
