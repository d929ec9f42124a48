"""Output files are read unaided by ASE, pymatgen and parsevasp, with the numbers the engine computed."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from ase.io import read
from parsevasp.outcar import Outcar as ParsevaspOutcar
from parsevasp.poscar import Poscar as ParsevaspPoscar
from parsevasp.vasprun import Xml
from pymatgen.io.vasp import Chgcar, Oszicar, Outcar, Poscar, Vasprun, Xdatcar

from leopold_model.standin import dynamics
from leopold_model.standin.engine import Engine
from leopold_model.standin.fortran import e_format, f8_4
from leopold_model.standin.occupations import onsite
from tests.standin.standin_case import COMMON, MASS, MD, MGO, TIO2, crystal, electrons, here, prepare

STEPS = 4
SITE = 40
TIGHT = {"EDIFF": "1E-7"}
KB_TO_EV_A3 = 1 / 1602.1766208


@pytest.fixture(scope="module")
def mgo(tmp_path_factory):
    """Four MD steps of 64 atoms with a hole, both species with onsite matrices."""
    folder = tmp_path_factory.mktemp("mgo")
    prepare(folder, crystal("mgo", around=SITE), {**MGO, **MD, **TIGHT, "NSW": STEPS}, SITE)
    here(folder)
    return folder


@pytest.fixture(scope="module")
def frames(mgo):
    return read(mgo / "OUTCAR", index=":")


@pytest.fixture(scope="module")
def truth(mgo):
    """What the engine gives for the positions of vasprun.xml (8 decimals), from the carrier's known site."""
    answers = []
    engine = Engine(crystal("mgo").get_chemical_symbols(), n_carriers=1)
    state = engine.start(np.eye(64)[SITE])
    for atoms in read(mgo / "vasprun.xml", index=":"):
        result = engine.evaluate(atoms.positions, atoms.cell[:], state, tolerance=1e-9)
        state = result.state
        answers.append((result, onsite(engine, atoms.positions, atoms.cell[:], result.populations)))
    return answers


def test_ase_reads_the_engines_numbers(mgo, frames, truth):
    xml = read(mgo / "vasprun.xml", index=":")
    assert len(frames) == len(xml) == STEPS
    for outcar, other, (result, spheres) in zip(frames, xml, truth, strict=True):
        assert outcar.get_potential_energy() == pytest.approx(result.energy, abs=1e-6)
        assert other.get_potential_energy(force_consistent=True) == pytest.approx(result.energy, abs=1e-6)
        assert np.abs(outcar.get_forces() - result.forces).max() < 2e-6
        assert np.abs(other.get_forces() - result.forces).max() < 2e-6
        stress = result.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert np.abs(outcar.get_stress() - stress).max() < 1e-7
        assert np.abs(other.get_stress() - stress).max() < 1e-7
        assert np.abs(outcar.get_magnetic_moments() - np.asarray(spheres.moments).sum(axis=1)).max() < 2.1e-3
        assert outcar.get_magnetic_moment() == pytest.approx(1.0)
        assert outcar.get_magnetic_moments().argmax() == SITE


def test_pymatgen_reads_the_engines_numbers(mgo, truth):
    outcar, vasprun = Outcar(mgo / "OUTCAR"), Vasprun(mgo / "vasprun.xml", parse_potcar_file=False)
    result, spheres = truth[-1]
    assert outcar.final_fr_energy == pytest.approx(result.energy, abs=1e-6)
    assert float(vasprun.final_energy) == pytest.approx(result.energy, abs=1e-6)
    assert outcar.nelect == electrons(crystal("mgo")) - 1
    table = np.array([[row[k] for k in ("s", "p", "d", "tot")] for row in outcar.magnetization])
    assert np.abs(table[:, :3] - spheres.moments).max() < 6e-4
    assert vasprun.nionic_steps == STEPS and vasprun.converged
    assert vasprun.parameters["NELM"] == 200 and vasprun.incar["LDAUU"] == [0, 10]
    last = vasprun.ionic_steps[-1]
    assert np.abs(np.array(last["forces"]) - result.forces).max() < 2e-6
    assert last["total"] == pytest.approx(last["e_fr_energy"] + last["kinetic"], abs=2e-8)
    oszicar = Oszicar(mgo / "OSZICAR")
    assert len(oszicar.ionic_steps) == STEPS
    assert oszicar.ionic_steps[-1]["F"] == pytest.approx(result.energy, abs=1e-4)
    assert oszicar.ionic_steps[-1]["mag"] == 1.0
    assert len(Xdatcar(mgo / "XDATCAR").structures) == STEPS


def test_onsite_sets_are_the_engines_and_two_differ(mgo, truth):
    outcar = Outcar(mgo / "OUTCAR")
    sets = np.array([[list(m.values()) for m in outcar.data["onsite_density_matrices"]]]).reshape(-1, 64, 2, 3, 3)
    assert len(sets) >= 2 * STEPS - 1
    text = (mgo / "OUTCAR").read_text()
    per_step = [part.count("atom =  41 ") for part in text.split("Ionic step ")[1:]]
    assert min(per_step) == 2
    lasts = np.cumsum(per_step) - 1
    for k, (_, spheres) in zip(lasts, truth, strict=True):
        for i in range(64):
            assert np.abs(sets[k, i, 0] - spheres.up[i]).max() < 2e-4
            assert np.abs(sets[k, i, 1] - spheres.down[i]).max() < 2e-4
    assert np.abs(sets[0, SITE] - sets[1, SITE]).max() > 1e-3, (
        "the first iteration sees the input state, the last the converged one"
    )


def test_occupancies_are_the_eigenvalues_of_the_matrices(mgo):
    block = (mgo / "OUTCAR").read_text().split("atom =  41 ")[-1].split("atom =")[0]
    rows = [line.split() for line in block.splitlines() if re.fullmatch(r"( +-?\d\.\d{4}){3}", line)]
    matrices = np.array(rows, dtype=float).reshape(2, 3, 3)
    occupancies = [float(line[5:13]) for line in block.splitlines() if line.startswith("  o =")]
    assert np.allclose(occupancies, np.sort(np.linalg.eigvalsh(matrices).ravel()), atol=2e-4)


def test_parsevasp_reads_it(mgo, truth):
    status = ParsevaspOutcar(file_path=str(mgo / "OUTCAR"))._data
    assert status["run_status"]["finished"] and status["run_status"]["electronic_converged"]
    assert status["magnetization"]["full_cell"] == [1.0]
    assert len(status["magnetization"]["sphere"]["x"]["site_moment"]) == 64
    xml = Xml(file_path=str(mgo / "vasprun.xml"), event=False)
    energies = [e[-1] for e in (xml.get_energies("all", etype=["energy_free"])["energy_free_final"],)]
    assert energies[0] == pytest.approx(truth[-1][0].energy, abs=1e-6)
    assert np.abs(np.array(list(xml.get_forces("all").values())[-1]) - truth[-1][0].forces).max() < 2e-6
    assert len(ParsevaspPoscar(file_path=str(mgo / "CONTCAR")).get_dict()["sites"]) == 64


def test_temperature_and_kinetic_energy_use_3n_minus_3(mgo):
    text = (mgo / "OUTCAR").read_text()
    kinetic = [float(x) for x in re.findall(r"kinetic energy EKIN   =\s+(\S+)", text)]
    temperature = [float(x) for x in re.findall(r"\(temperature\s+(\S+) K\)", text)]
    assert len(kinetic) == STEPS and temperature[0] == pytest.approx(300.0)
    assert np.allclose(np.array(kinetic) * 2 / (189 * dynamics.KB), temperature, atol=0.02)


def test_tables_come_once_per_step_and_once_more(mgo):
    text = (mgo / "OUTCAR").read_text()
    assert text.count(" magnetization (x)") == text.count(" total charge\n") == STEPS + 1
    tables = text.split(" magnetization (x)\n")[-2:]
    assert tables[0][:2900] == tables[1][:2900], "the last table is printed twice"
    order = [
        text.index(mark)
        for mark in ("Ionic step ", "Iteration ", "atom =", "aborting loop", "total charge", "TOTAL-FORCE")
    ]
    assert order == sorted(order)
    assert text.index("General timing") > text.rindex("magnetization (x)")


def test_every_file_says_what_it_is(mgo):
    for name in ("OUTCAR", "vasprun.xml"):
        head = (mgo / name).read_text()[:1000]
        assert "leopold-vasp-standin" in head and "mgo" in head and "not DFT+U" in head
    text = (mgo / "OUTCAR").read_text()
    assert "NOT DFT+U results" in text and "tags without effect in this engine: LDAUTYPE ENCUT ISYM" in text
    assert "RANDOM_SEED = 20260101 0 0" in text


def test_contcar_continues_and_chgcar_shows_the_carrier(mgo):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        contcar, chgcar = Poscar.from_file(mgo / "CONTCAR"), Chgcar.from_file(mgo / "CHGCAR")
    assert np.array(contcar.velocities).shape == (64, 3)
    assert chgcar.data["total"].sum() / chgcar.ngridpts == pytest.approx(electrons(crystal("mgo")) - 1)
    assert chgcar.data["diff"].sum() / chgcar.ngridpts == pytest.approx(1.0)
    peak = np.array(np.unravel_index(chgcar.data["diff"].argmax(), chgcar.dim)) / chgcar.dim
    offset = contcar.structure.frac_coords[SITE] - peak
    assert np.abs(offset - np.rint(offset)).max() < 0.05


def test_velocities_move_the_ions(mgo):
    """XDATCAR's displacements are CONTCAR's velocities: each belongs half a step before its positions."""
    contcar = Poscar.from_file(mgo / "CONTCAR")
    before = read(mgo / "XDATCAR", index=":", format="vasp-xdatcar")[-1]
    step = contcar.structure.frac_coords - before.get_scaled_positions()
    step -= np.rint(step)
    assert np.allclose(step @ before.cell[:], contcar.velocities, atol=2e-6)


def test_species_without_ldaul_have_no_blocks(tmp_path):
    atoms = crystal("tio2", (2, 2, 2), around=4)
    here(prepare(tmp_path, atoms, TIO2, 4))
    text = (tmp_path / "OUTCAR").read_text()
    assert set(re.findall(r"atom = +(\d+) +type = +\d+ +l = 2", text)) == {str(i) for i in range(1, 17)}
    frame = read(tmp_path / "OUTCAR")
    assert frame.get_magnetic_moments().argmax() == 4
    assert Outcar(tmp_path / "OUTCAR").final_fr_energy == pytest.approx(frame.get_potential_energy())
    assert "temperature" not in text.split("Ionic step")[1]


def test_without_spin_the_carrier_is_delocalised(tmp_path):
    here(prepare(tmp_path, crystal("mgo"), {**MGO, "ISPIN": 1, "LDAUPRINT": 1}))
    text = (tmp_path / "OUTCAR").read_text()
    assert "magnetization (x)" not in text and "total charge" in text and "spin component  2" not in text
    spread = read(tmp_path / "OUTCAR").get_potential_energy()
    here(prepare(tmp_path, crystal("mgo"), {**MGO, "LDAU": ".FALSE.", "LDAUL": None, "LDAUU": None}, SITE))
    frame = read(tmp_path / "OUTCAR")
    assert frame.get_potential_energy() == pytest.approx(spread, abs=1e-6), "no U, no self-trapping"
    assert frame.get_magnetic_moments().max() < 0.3


def test_a_neutral_cell_has_no_moment(tmp_path):
    atoms = crystal("mgo")
    here(prepare(tmp_path, atoms, {**MGO, "NELECT": electrons(atoms)}))
    frame = read(tmp_path / "OUTCAR")
    assert frame.get_magnetic_moment() == 0.0 and np.abs(frame.get_magnetic_moments()).max() == 0.0


def test_negative_magmom_turns_the_spin_over(tmp_path):
    here(prepare(tmp_path / "up", crystal("mgo", around=SITE), MGO, SITE))
    folder = prepare(tmp_path / "down", crystal("mgo", around=SITE), {**MGO, "MAGMOM": f"{SITE}*0 -1 {63 - SITE}*0"})
    here(folder)
    up, down = read(tmp_path / "up/OUTCAR"), read(folder / "OUTCAR")
    assert np.allclose(up.get_magnetic_moments(), -down.get_magnetic_moments())
    assert up.get_potential_energy() == down.get_potential_energy()


def test_nwrite_zero_prints_forces_at_the_ends_only(tmp_path):
    here(prepare(tmp_path, crystal("mgo", (1, 1, 2)), {**MGO, **MD, "NSW": 5, "NWRITE": 0, "LDAUPRINT": 0}))
    text = (tmp_path / "OUTCAR").read_text()
    assert text.count("TOTAL-FORCE") == 2 and text.count("free  energy   TOTEN") == 5
    assert len(read(tmp_path / "vasprun.xml", index=":")) == 5


def test_isif_zero_has_no_stress(tmp_path):
    here(prepare(tmp_path, crystal("mgo", (1, 1, 2)), {**MGO, **MD, "NSW": 2, "ISIF": None, "LDAUPRINT": 0}))
    assert "in kB" not in (tmp_path / "OUTCAR").read_text()
    assert "stress" not in (tmp_path / "vasprun.xml").read_text()


def test_kind_suffixes_become_elements(tmp_path):
    folder = prepare(tmp_path, crystal("mgo", (1, 1, 2), 0.02), {**MGO, **MD, "NSW": 2, "LDAUPRINT": 0})
    lines = (folder / "POSCAR").read_text().splitlines()
    assert lines[5].split() == ["Mg", "O"]
    lines[5] = " Mg O1"
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    here(folder)
    assert (folder / "CONTCAR").read_text().splitlines()[5].split() == ["Mg", "O"]
    assert read(folder / "OUTCAR").get_chemical_symbols() == ["Mg"] * 8 + ["O"] * 8


def test_one_atom_tables_have_no_total_row():
    from leopold_model.standin.outcar_writer import OutcarWriter

    writer = OutcarWriter.__new__(OutcarWriter)
    writer.table_rows = "    1     " + "%8.3f" * 4 + "\n"
    assert "\ntot" not in writer._table(" total charge", np.ones((1, 3)))


def test_masses_are_potcars(mgo):
    vasprun = (mgo / "vasprun.xml").read_text()
    assert f"{MASS['Mg']:.8f}" in vasprun and "PLACEHOLDER" in vasprun


@pytest.mark.parametrize(
    ("value", "width", "digits", "text"),
    [
        (-332.02291, 14, 8, "-.33202291E+03"),
        (337.6038, 14, 8, "0.33760380E+03"),
        (0.0, 8, 2, "0.00E+00"),
        (7.2e-7, 8, 2, "0.72E-06"),
        (9.999e-5, 8, 2, "0.10E-03"),
    ],
)
def test_fortran_exponents(value, width, digits, text):
    assert e_format(value, width, digits) == text


def test_fixed_width_table_agrees_with_plain_formatting():
    values = np.concatenate([np.random.default_rng(0).uniform(-2, 2, 3000), [0.0, 2.0, -2.0, 39.6467, -13.7153]])
    cells = f8_4(values).tobytes().decode()
    for k, value in enumerate(values):
        assert float(cells[8 * k : 8 * k + 8]) == pytest.approx(round(value, 4), abs=1.1e-4)
        assert len(cells[8 * k : 8 * k + 8]) == 8


def test_common_tags_are_the_readers_minimum():
    assert COMMON["LORBIT"] >= 10
