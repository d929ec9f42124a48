"""Input files are read as VASP reads them, and what VASP cannot run is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leopold_model.standin.settings import integrator, read_job
from leopold_model.standin.vasp_input import (
    InputError,
    parse_incar,
    parse_kpoints,
    parse_occdir,
    parse_occmatrix,
    parse_poscar,
    parse_potcar,
)
from tests.standin.standin_case import MD, MGO, TIO2, crystal, electrons, potcar, prepare

INCAR = """\
SYSTEM = rutile, one electron   ! a comment
 ispin = 2 ; NELECT=1537 # another ; LORBIT = 10
MAGMOM = 25*0 1 \\
         70*0 192*0.0
LDAU = .true.
LDAUU = 4 0.1
EDIFF = 1D-6
NSW = 10
NSW = 20
ALGO = Fast    trailing words
LANGEVIN_GAMMA = "10.0
 5.0"
"""


def test_incar_syntax():
    incar = parse_incar(INCAR)
    assert incar["SYSTEM"] == "rutile, one electron"
    assert incar.integer("ISPIN", 1) == 2 and incar.real("NELECT", 0) == 1537
    assert "LORBIT" not in incar, "a comment ends the line, semicolons in it included"
    magmom = incar.reals("MAGMOM", [], 288)
    assert len(magmom) == 288 and magmom[25] == 1.0 and sum(magmom) == 1.0
    assert incar.logical("LDAU", False) is True
    assert incar.real("EDIFF", 0) == 1e-6
    assert incar.integer("NSW", 0) == 10, "the first of two equal tags counts"
    assert incar.word("ALGO", "N") == "Fast"
    assert incar.reals("LANGEVIN_GAMMA", [], 2) == [10.0, 5.0]


@pytest.mark.parametrize(
    ("text", "call", "message"),
    [
        ("NSW = many", lambda incar: incar.integer("NSW", 0), "NSW = many"),
        ("LDAU = yes", lambda incar: incar.logical("LDAU", False), "LDAU = yes"),
        ("MAGMOM = 3*0", lambda incar: incar.reals("MAGMOM", [], 4), "MAGMOM has 3 values, needs 4"),
        ("TEBEG = hot", lambda incar: incar.real("TEBEG", 0), "TEBEG = hot"),
    ],
)
def test_incar_values_that_cannot_be_read(text, call, message):
    with pytest.raises(InputError, match=message):
        call(parse_incar(text))


POSCAR = """\
kinds and velocities
 2.0
 2.0 0 0
 0 2.0 0
 0 0 2.5
 Mg Mg1 O/1a2b
 1 1 2
Selective dynamics
Cartesian
 0.0 0.0 0.0 T T T
 1.0 1.0 0.0 T T F
 1.0 0.0 0.0 F F F
 0.0 1.0 1.25 T T T

 1.0E-03 0.0 0.0
 0.0 -2.0D-03 0.0
 0.0 0.0 0.0
 0.0 0.0 0.5E-03
"""


def test_poscar_with_kinds_scale_selective_dynamics_and_velocities():
    poscar = parse_poscar(POSCAR)
    assert poscar.symbols == ["Mg", "Mg", "O", "O"] and poscar.names == ("Mg", "Mg1", "O/1a2b")
    assert np.allclose(poscar.cell, np.diag([4.0, 4.0, 5.0]))
    assert np.allclose(poscar.fractional[[1, 3]], [[0.5, 0.5, 0], [0, 0.5, 0.5]])
    assert poscar.free.tolist() == [[True] * 3, [True, True, False], [False] * 3, [True] * 3]
    assert poscar.velocities[1, 1] == -2e-3 and poscar.velocities.shape == (4, 3)
    assert parse_poscar(POSCAR.replace(" 2.0\n", " -80.0\n", 1)).cell[2, 2] == pytest.approx(5.0), "volume as scale"
    assert parse_poscar("\n".join(POSCAR.splitlines()[:13])).velocities is None


def test_poscar_direct_velocities_are_lattice_vectors_per_fs():
    lines = POSCAR.splitlines()
    lines[13] = "Direct"
    assert parse_poscar("\n".join(lines)).velocities[0, 0] == pytest.approx(4e-3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" Mg Mg1 O/1a2b\n", "", "species"),
        (" 1 1 2\n", " 1 3\n", "3 species on line 6 but 2 counts"),
        (" 0.0 1.0 1.25 T T T\n", "", "POSCAR"),
        (" 0.0 0.0 0.5E-03\n", "", "velocities expected"),
        (" 0 0 2.5", " 0 2.0 0", "no volume"),
    ],
)
def test_poscar_that_cannot_be_read(old, new, message):
    with pytest.raises(InputError, match=message):
        parse_poscar(POSCAR.replace(old, new))


def test_potcar_and_kpoints():
    mg, o = parse_potcar(potcar(["Mg", "O"]))
    assert (mg.element, mg.valence, mg.mass, o.title) == ("Mg", 8.0, 24.305, "PAW_PBE O PLACEHOLDER")
    with pytest.raises(InputError, match="ZVAL"):
        parse_potcar("  TITEL = PAW_PBE O X\n POMASS = 16.0\n")
    with pytest.raises(InputError, match="TITEL"):
        parse_potcar("nothing")
    assert parse_kpoints("mesh\n0\nMonkhorst\n2 2 3\n").points == 12
    with pytest.raises(InputError, match="1 1 1"):
        parse_kpoints("mesh\n0\nGamma\n")


def occmatrix(tail="\n", between="\n"):
    row = "  1.0000  0.0000  0.0000\n"
    block = f"{{atom}} 1 2   header, rest ignored\nspin component  1\n{row * 3}spin component  2\n{row * 3}"
    return "2 atoms\n" + block.format(atom=33) + between + block.format(atom=34) + tail


@pytest.mark.parametrize(
    "text",
    [
        occmatrix(),
        occmatrix().replace(" ", "\t"),
        occmatrix().replace("\n", "\r\n"),
        occmatrix(between="\n\n\n"),
        occmatrix().replace("spin component  2\n", "spin component  2\n\n"),
        occmatrix().replace("0.0000\n", "0.0000 ! a comment\n"),
    ],
    ids=["plain", "tabs", "crlf", "extra blank lines", "blank after label", "comments"],
)
def test_occmatrix_accepts_what_the_fortran_read_accepts(text):
    first, second = parse_occmatrix(text)
    assert (first.atom, second.atom, first.l) == (32, 33, 1)
    assert np.array_equal(first.up, [[1, 0, 0]] * 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (occmatrix(tail=""), "end of file"),
        (occmatrix(between=""), "blank line must stand between atoms"),
        (occmatrix().replace("1.0000  0.0000", "11.2215-13.7153"), "columns must not touch"),
    ],
    ids=["no last line", "no line between atoms", "glued columns"],
)
def test_occmatrix_refuses_what_crashes_the_fortran_read(text, message):
    with pytest.raises(InputError, match=message):
        parse_occmatrix(text)


def test_occmatrix_with_one_spin_leaves_the_other_empty():
    text = "1\n17 2 1\nup\n" + "1 0 0 0 0\n" * 5 + "\n"
    (only,) = parse_occmatrix(text)
    assert only.up.sum() == 5 and not only.down.any()


def test_occdir_lines():
    """The line of the published anatase example, and a p shell."""
    (electron,) = parse_occdir("OCCDIR1", [1, 17, 2, 1, 5, 5, 1, 1.0])
    assert (electron.atom, electron.l) == (16, 2)
    assert np.array_equal(electron.up, np.diag([1.0, 0, 0, 0, 0])) and not electron.down.any()
    holes = parse_occdir("OCCDIR2", [2, 33, 1, 2, 2, 2, 1, 0.6, 4, 3, 2, 0.1, 34, 1, 1, 3, 3, 2, 0.5])
    assert holes[0].down[2, 1] == 0.1 and holes[1].down[1, 1] == 0.5
    for values, message in (([1, 17, 2, 2, 5, 5, 1, 1.0], "ends early"), ([1, 17, 2, 1, 4, 5, 1, 1.0], "l = 2")):
        with pytest.raises(InputError, match=message):
            parse_occdir("OCCDIR1", values)


def job(tmp_path, **tags):
    return read_job(prepare(tmp_path, crystal("mgo", (1, 1, 1), 0.0), {**MGO, **tags}))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NELECT": 57}, "NELECT = 57 asks for electrons"),
        ({"NELECT": 55.5}, "whole number"),
        ({"NELECT": 40}, "16 carriers on 4 O sites"),
        ({"NUPDOWN": 3}, "NUPDOWN = 3"),
        ({"IBRION": 5, "NSW": 1}, "IBRION = 5"),
        ({"ISIF": 3}, "ISIF = 3"),
        ({"ISPIN": 4}, "ISPIN = 4"),
        ({"IBRION": 0, "NSW": 5}, "POTIM"),
        ({"MAGMOM": "2*0"}, "MAGMOM has 2 values, needs 8"),
        ({"LDAUL": None}, "needs LDAUL"),
        ({"LSORBIT": ".TRUE."}, "LSORBIT"),
        ({"LHFCALC": ".TRUE."}, "LHFCALC"),
        ({"OCCEXT": 1}, "OCCMATRIX is missing"),
        ({**MD, "NSW": 5, "MDALGO": 5}, "MDALGO = 5"),
        ({**MD, "NSW": 5, "SMASS": -2}, "SMASS = -2"),
        ({**MD, "NSW": 5, "MDALGO": 2, "TEBEG": 0}, "TEBEG"),
        ({**MD, "NSW": 5, "MDALGO": 3, "LANGEVIN_GAMMA": 5}, "LANGEVIN_GAMMA has 1 values, needs 2"),
    ],
)
def test_impossible_input_is_refused_by_name(tmp_path, tags, message):
    with pytest.raises(InputError, match=message):
        integrator(job(tmp_path, **tags))


@pytest.mark.parametrize("name", ["INCAR", "POSCAR", "KPOINTS", "POTCAR"])
def test_missing_files_are_named(tmp_path, name):
    job(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        read_job(tmp_path)


def test_poscar_and_potcar_must_agree(tmp_path):
    job(tmp_path)
    (tmp_path / "POTCAR").write_text(potcar(["O", "Mg"]))
    with pytest.raises(InputError, match="same order"):
        read_job(tmp_path)
    (tmp_path / "POTCAR").write_text(potcar(["Mg"]))
    with pytest.raises(InputError, match="POTCAR holds 1 species"):
        read_job(tmp_path)


def test_carriers_follow_from_the_electron_count(tmp_path):
    atoms = crystal("tio2", (2, 2, 2), 0.0)
    neutral = electrons(atoms)

    def carriers(structure, **tags):
        return read_job(prepare(tmp_path, structure, {**TIO2, **tags})).n_carriers

    assert carriers(atoms, NELECT=neutral) == 0
    assert carriers(atoms, NELECT=neutral + 2) == 2
    assert carriers(atoms, NELECT=None, NUPDOWN=1) == 1
    vacancy = atoms.copy()
    del vacancy[-1]
    assert carriers(vacancy, NELECT=None) == 2, "an oxygen vacancy leaves two electrons"
    doped = atoms.copy()
    doped.symbols[-1] = "F"
    tags = {"LDAUL": "2 -1 -1", "LDAUU": "4 0 0", "LDAUJ": "0 0 0"}
    assert carriers(doped, NELECT=None, **tags) == 1, "a fluorine on an oxygen site donates one electron"


def test_system_names_the_parameter_set(tmp_path):
    atoms = crystal("anatase", (2, 2, 1))
    sets = [
        read_job(prepare(tmp_path / str(k), atoms, {**TIO2, "SYSTEM": system})).parameters.name
        for k, system in enumerate((None, "Anatase, one electron"))
    ]
    assert sets == ["tio2", "anatase"]


def test_tags_without_effect_are_told_apart(tmp_path):
    read = job(tmp_path, ALGO="Fast", NCORE=4)
    assert {"ALGO", "NCORE", "ENCUT", "ISYM", "LDAUTYPE"} <= set(read.without_effect)
    assert not {"NELECT", "LDAUU", "LORBIT"} & set(read.without_effect)
    assert "TEBEG" in job(tmp_path, TEBEG=300).without_effect
    assert "TEBEG" not in job(tmp_path, **MD, NSW=5).without_effect


def test_occupation_control_of_an_unpatched_binary_is_silent(tmp_path, monkeypatch):
    monkeypatch.setenv("LEOPOLD_STANDIN_UNPATCHED", "1")
    read = job(tmp_path, OCCEXT=1)
    assert not read.occext and "OCCEXT" in read.without_effect


def test_noise_depends_on_seed_and_structure_only(tmp_path):
    first = job(tmp_path / "a").rng.random()
    assert job(tmp_path / "b").rng.random() == first
    assert job(tmp_path / "c", RANDOM_SEED="7 0 0").rng.random() != first
    assert read_job(prepare(tmp_path / "d", crystal("mgo", (1, 1, 1), 0.01), MGO)).rng.random() != first


@given(st.text(max_size=200))
def test_no_incar_text_breaks_the_parser(text):
    assert all(tag == tag.upper() and "=" not in tag for tag in parse_incar(text))
