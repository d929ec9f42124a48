"""POSCAR, CONTCAR and MAGMOM: site i in is site i out, with all digits and the velocities."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read as ase_read
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.io.vasp.inputs import Poscar

from leopold_model.vasp.poscar import blocks, magmom_tag, read_magmom, read_poscar, write_poscar
from leopold_model.vasp.run import VaspError


def crystal(seed=0, symbols=("Ti",) * 2 + ("O",) * 3):
    rng = np.random.default_rng(seed)
    cell = 6 * np.eye(3) + rng.normal(0, 0.5, (3, 3))
    return Atoms(symbols, scaled_positions=rng.uniform(-0.2, 1.2, (len(symbols), 3)), cell=cell, pbc=True), rng


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.lists(st.sampled_from(["Ti", "O", "F"]), min_size=1, max_size=9), st.booleans()
)  # fmt: skip
def test_round_trip(tmp_path_factory, seed, symbols, moving):
    atoms, rng = crystal(seed, tuple(symbols))
    velocities = rng.normal(0, 0.01, (len(atoms), 3)) if moving else None
    path = tmp_path_factory.mktemp("poscar") / "POSCAR"
    write_poscar(path, atoms, velocities)
    back, found = read_poscar(path)
    assert back.get_chemical_symbols() == symbols
    np.testing.assert_allclose(back.positions, atoms.positions, rtol=0, atol=1e-13)
    np.testing.assert_allclose(back.cell.array, atoms.cell.array, rtol=0, atol=1e-15)
    if moving:
        np.testing.assert_array_equal(found, velocities)
    else:
        assert found is None


def test_pymatgen_and_ase_read_it(tmp_path):
    atoms, rng = crystal(3)
    velocities = rng.normal(0, 0.01, (5, 3))
    write_poscar(tmp_path / "POSCAR", atoms, velocities)
    theirs = Poscar.from_file(tmp_path / "POSCAR")
    np.testing.assert_allclose(theirs.structure.cart_coords, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(theirs.velocities, velocities, rtol=1e-12)
    image = ase_read(tmp_path / "POSCAR", format="vasp")
    assert image.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(image.positions, atoms.positions, atol=1e-12)


def test_contcar_of_pymatgen_is_read(tmp_path):
    atoms, rng = crystal(4)
    write_poscar(tmp_path / "POSCAR", atoms)
    poscar = Poscar.from_file(tmp_path / "POSCAR")
    poscar.velocities = rng.normal(0, 0.01, (5, 3)).round(6).tolist()
    poscar.selective_dynamics = [[True, True, False]] * 5
    poscar.write_file(tmp_path / "CONTCAR", significant_figures=16)
    back, velocities = read_poscar(tmp_path / "CONTCAR")
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(velocities, poscar.velocities, atol=1e-8)


CONTCAR = """rutile
   2.0
     2.0 0.0 0.0
     0.0 2.0 0.0
     0.0 0.0 1.5
  Ti_sv O/1a2b3c4d
     1     2
Cartesian
  0.0 0.0 0.0 T T T
  0.5 0.5 0.0
  0.5 0.0 0.25

Lattice velocities and vectors
  1
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.40000000E+01  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.40000000E+01  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.30000000E+01

  0.10000000E-02 -0.20000000E-02  0.00000000E+00
  0.10000000E-02 -0.20000000E-02  0.00000000E+00
  0.30000000E-02  0.00000000E+00 -0.10000000E-01

           1
  0.100000000000000E+01
"""


def test_a_contcar_as_vasp_6_writes_it(tmp_path):
    path = tmp_path / "CONTCAR"
    path.write_text(CONTCAR.replace("\nLattice", "Lattice"))
    atoms, velocities = read_poscar(path)
    assert atoms.get_chemical_symbols() == ["Ti", "O", "O"]
    np.testing.assert_allclose(atoms.cell.array, np.diag([4.0, 4.0, 3.0]))
    np.testing.assert_allclose(atoms.positions[2], [1.0, 0.0, 0.5])
    np.testing.assert_allclose(velocities[[0, 2]], [[0.001, -0.002, 0.0], [0.003, 0.0, -0.01]])


def test_a_negative_scale_is_the_volume(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text("x\n-24.0\n1 0 0\n0 1 0\n0 0 3\nO\n1\nDirect\n0.5 0.5 0.5\n")
    atoms, _ = read_poscar(path)
    assert atoms.get_volume() == pytest.approx(24.0)
    np.testing.assert_allclose(atoms.positions[0], atoms.cell.sum(axis=0) / 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n1.0\n1 0 0\n0 1 0\n", "cut"),
        ("x\n1.0\n1 0 0\n0 1 0\n0 0 1\n2\nDirect\n0 0 0\n0.5 0.5 0.5\n", "species"),
        ("x\n1.0\n1 0 0\n0 1 0\n0 0 1\nXq\n1\nDirect\n0 0 0\n", "'Xq'"),
        ("x\n1.0\n1 0 0\n0 1 0\n0 0 1\nO\n2\nDirect\n0 0 0\n", "cut"),
        ("x\n1.0\n1 0 0\n0 1 0\n0 0 1\nO\n1\nDirect\n0 0 0\nDirect\n0 0 1\n", "POTIM"),
        ("x\n1.0\n1 0 0\n0 1 0\n0 0 1\nO\n2\nDirect\n0 0 0\n1 1 1\n\n0 0 1\n", "cut"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, message):
    path = tmp_path / "CONTCAR"
    path.write_text(text)
    with pytest.raises(VaspError, match=message) as error:
        read_poscar(path)
    assert str(path) in str(error.value)


def test_velocities_of_another_cell_are_refused(tmp_path):
    atoms, _ = crystal()
    with pytest.raises(VaspError, match=r"\(4, 3\).*\(5, 3\)"):
        write_poscar(tmp_path / "POSCAR", atoms, np.zeros((4, 3)))


def test_magmom_in_short_notation():
    assert magmom_tag([0] * 25 + [1] + [0] * 70 + [0] * 192) == "25*0 1 262*0"
    assert read_magmom("25*0 1 70*0 192*0") == [0.0] * 25 + [1.0] + [0.0] * 262
    assert read_magmom([0, 1.5, "2*0.5"]) == [0.0, 1.5, 0.5, 0.5]
    with pytest.raises(VaspError, match="'x'"):
        read_magmom("1 x")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3000, 3000).map(lambda i: i / 1000), max_size=40))
def test_magmom_keeps_every_site_in_place(moments):
    assert read_magmom(magmom_tag(moments)) == moments


def test_blocks_keep_the_order_of_sites():
    assert blocks(["Mg", "Mg", "O", "Mg"]) == [("Mg", 2), ("O", 1), ("Mg", 1)]
