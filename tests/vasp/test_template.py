"""Occupations harvested from a run and put on other sites: by symmetry, and against the crystal turned explicitly."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from leopold_model.analysis.sites import host_from_structure, map_sites
from leopold_model.cli import main
from leopold_model.standin.crystals import ideal_cell
from leopold_model.vasp.occmatrix import ORBITALS, carrier_orbital, occmatrix_text, read_occmatrix
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.poscar import write_poscar
from leopold_model.vasp.rotation import rotate_occupations
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.template import Template, carrier_shells, last_state, orientations, site_operations
from tests.standin.standin_case import MGO, TIO2, crystal, here, prepare
from tests.vasp.outcar_text import Sample

DATA = Path(__file__).parents[3] / "shared" / "data" / "vasp"
CASES = {"mgo": (MGO, "O", 40), "tio2": (TIO2, "Ti", 3)}


def in_orbital(*names, filling=0.1, moment=0.75):
    """(l, up, down) with `moment` in the even mixture of the named orbitals."""
    degree = next(l for l, known in ORBITALS.items() if names[0].lstrip("-") in known)  # noqa: E741
    vector = np.zeros(2 * degree + 1)
    for name in names:
        vector[ORBITALS[degree].index(name.lstrip("-"))] = -1.0 if name.startswith("-") else 1.0
    vector /= np.linalg.norm(vector)
    rest = filling * np.eye(len(vector))
    return degree, rest + moment * np.outer(vector, vector), rest


def generic(degree, seed=0):
    """A matrix without any symmetry."""
    up, down = np.random.default_rng(seed).uniform(-0.3, 0.3, (2, 2 * degree + 1, 2 * degree + 1))
    return degree, up + up.T, down + down.T


def mapped(atoms, species, ideal=None):
    """The structure's map onto its own perfect crystal, or onto that of `ideal`."""
    ideal = atoms if ideal is None else ideal
    host = host_from_structure(ideal.numbers, ideal.positions, ideal.cell.array, sublattice=species)
    return map_sites(host, atoms.numbers, atoms.positions, atoms.cell.array)


def assert_same(found, wanted, atol=1e-9):
    assert found[0] == wanted[0]
    np.testing.assert_allclose(found[1:], wanted[1:], atol=atol)


# ---------------------------------------------------------------------------------------------------------- by symmetry


def test_a_hole_in_mgo_onto_its_twelve_neighbours():
    """All oxygen sites are translates: the orbital stays as it is, and its three orientations are there to choose."""
    atoms = ideal_cell("mgo", (2, 2, 2))
    sites = mapped(atoms, "O")
    site = atoms.get_chemical_symbols().index("O") + 5
    distances = atoms.get_distances(site, range(len(atoms)), mic=True)
    neighbours = [i for i in np.flatnonzero(np.isclose(distances, atoms.cell[0, 0] / 2 / np.sqrt(2))) if i != site]
    assert len(neighbours) == 12
    wanted = {axis: in_orbital(axis) for axis in "xyz"}
    for onto in neighbours:
        for shell in wanted.values():
            found = orientations(shell, sites, site, int(onto))
            assert len(found) == 3
            assert_same(found[0], shell)
            for other in wanted.values():
                assert min(np.abs(f[1] - other[1]).max() for f in found) < 1e-9


@pytest.mark.parametrize("axis", "xyz")
def test_the_distortion_of_the_target_chooses_the_orbital(axis):
    """A hole in p_z pulls its ligands along z closer: a structure with the same along x asks for p_x."""
    atoms = ideal_cell("mgo", (2, 2, 2))
    site = atoms.get_chemical_symbols().index("O")
    near = int(np.argsort(atoms.get_distances(site, range(len(atoms)), mic=True))[9])
    assert atoms.symbols[near] == "O"

    def distorted(centre, along, seed):
        moved = atoms.copy()
        vectors = atoms.get_distances(centre, range(len(atoms)), mic=True, vector=True)
        for i in np.flatnonzero(np.isclose(np.linalg.norm(vectors, axis=1), atoms.cell[0, 0] / 4)):
            moved.positions[i] += (-0.08 if abs(vectors[i, along]) > 1 else 0.05) * vectors[i] / 2
        moved.positions += np.random.default_rng(seed).normal(scale=0.01, size=moved.positions.shape)
        return mapped(moved, "O", atoms)

    source, target = distorted(site, 2, 0), distorted(near, "xyz".index(axis), 1)
    found = orientations(in_orbital("z"), source, site, near, target)
    assert len(found) == 3
    assert_same(found[0], in_orbital(axis))


def test_an_electron_in_rutile_onto_the_other_sublattice():
    """Its surroundings are turned by 90 degrees about c, and so is the orbital."""
    atoms = ideal_cell("tio2", (2, 2, 2))
    sites = mapped(atoms, "Ti")
    titanium = [i for i, s in enumerate(atoms.get_chemical_symbols()) if s == "Ti"]
    same, other = (
        [i for i in titanium if (sites.sublattice[i] == sites.sublattice[titanium[0]]) == wanted]
        for wanted in (True, False)
    )
    assert len(same) == len(other) == 8
    quarter = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
    for names, turned in (
        (("x2-y2",), ("x2-y2",)),
        (("xy",), ("xy",)),
        (("xz", "yz"), ("-xz", "yz")),  # along the local axis [110], and along [-110] on the other sublattice
        (("xz", "-yz"), ("xz", "yz")),
        (("z2", "xy"), ("z2", "-xy")),
    ):
        shell = in_orbital(*names)
        for onto in other:
            (found,) = orientations(shell, sites, titanium[0], onto)
            assert_same(found, in_orbital(*turned))
            assert_same(found, (2, *(rotate_occupations(m, quarter) for m in shell[1:])))
        for onto in same:
            (found,) = orientations(shell, sites, titanium[0], onto)
            assert_same(found, shell)


@pytest.mark.parametrize(
    ("name", "species", "degree", "count"), [("mgo", "O", 1, 24), ("tio2", "Ti", 2, 4), ("ceo2", "Ce", 3, 24)]
)
def test_a_turned_crystal_gives_turned_matrices(name, species, degree, count):
    """Every orientation of a matrix without symmetry: half the site's group, for the inversion changes none."""
    if name == "ceo2":
        atoms = bulk("CeO2", "fluorite", a=5.41, cubic=True).repeat((1, 1, 2))
    else:
        atoms = ideal_cell(name, (2, 2, 2))
    places = [i for i, s in enumerate(atoms.get_chemical_symbols()) if s == species]
    shell = generic(degree)
    turn = Rotation.from_rotvec([0.4, 1.0, -0.3]).as_matrix()
    turned = Atoms(atoms.numbers, positions=atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=True)
    turned_shell = (degree, *(rotate_occupations(m, turn) for m in shell[1:]))
    for onto in (places[0], places[-1]):
        here_, there = (
            orientations(one, mapped(structure, species), places[0], onto)
            for structure, one in ((atoms, shell), (turned, turned_shell))
        )
        assert len(here_) == len(there) == count
        assert_same(orientations(shell, mapped(atoms, species), places[0], places[0])[0], shell)
        for _, up, down in here_:
            wanted = np.array([rotate_occupations(up, turn), rotate_occupations(down, turn)])
            assert min(np.abs(np.array(other[1:]) - wanted).max() for other in there) < 1e-6
        # and what overlaps most with the orbital as it was stands first in both
        np.testing.assert_allclose(
            rotate_occupations(here_[0][1] - here_[0][2], turn), there[0][1] - there[0][2], atol=1e-6
        )


def test_operations_of_a_site_begin_with_the_smallest_turn():
    atoms = ideal_cell("tio2", (1, 1, 1))
    host = host_from_structure(atoms.numbers, atoms.positions, atoms.cell.array, sublattice="Ti")
    a, b = host.sites
    np.testing.assert_allclose(site_operations(host, a, a)[0], np.eye(3), atol=1e-12)
    found = site_operations(host, a, b)
    assert len(found) == 8 and np.trace(found[0]) == pytest.approx(1) and np.linalg.det(found[0]) == pytest.approx(1)
    assert not len(site_operations(host, a, int(np.flatnonzero(host.numbers == 8)[0])))


def test_what_cannot_be_mapped_is_refused():
    atoms = ideal_cell("tio2", (2, 2, 2))
    sites = mapped(atoms, "Ti")
    oxygen = atoms.get_chemical_symbols().index("O")
    with pytest.raises(VaspError, match=f"takes atom 0 to atom {oxygen}"):
        orientations(in_orbital("xy"), sites, 0, oxygen)
    with pytest.raises(VaspError, match="atoms 0 to 47"):
        orientations(in_orbital("xy"), sites, 0, 48)
    doped = atoms.copy()
    doped.numbers[1] = atomic_numbers["V"]
    with pytest.raises(VaspError, match="not the host's"):
        orientations(in_orbital("xy"), sites, 0, 1, mapped(doped, "Ti", atoms))


def test_a_template_is_a_round_trip_and_takes_the_shell_of_an_equivalent_site():
    """Carriers on O and on Mg: each atom gets the one of its own kind; the same after JSON."""
    atoms = ideal_cell("mgo", (2, 2, 2))
    oxygen, magnesium = (np.flatnonzero(atoms.symbols == s) for s in ("O", "Mg"))
    host = mapped(atoms, "O").host
    shells = {int(oxygen[0]): in_orbital("x"), int(magnesium[0]): in_orbital("z", moment=0.3)}
    template = Template(host, atoms.numbers, atoms.positions, atoms.cell.array, shells)
    for one in (template, Template.from_dict(json.loads(json.dumps(template.to_dict())))):
        assert_same(one.onto(int(oxygen[3]))[0], in_orbital("x"))
        assert_same(one.onto(int(magnesium[3]))[0], in_orbital("z", moment=0.3))
    only = Template(host, atoms.numbers, atoms.positions, atoms.cell.array, {int(oxygen[0]): in_orbital("x")})
    with pytest.raises(VaspError, match="no symmetry operation"):
        only.onto(int(magnesium[0]))
    with pytest.raises(VaspError, match="output of a seed"):
        Template.from_dict({"sites": [3]})


# -------------------------------------------------------------------------- against the crystal turned, in the stand-in


def run_standin(directory, name, atoms, site):
    incar, *_ = CASES[name]
    here(prepare(directory, atoms, incar, seed_site=site))
    return directory / "OUTCAR"


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_turned_and_moved_structure_has_the_turned_occupations(name, tmp_path):
    """A distorted structure, and the same put elsewhere by every kind of operation: VASP's files of both agree."""
    _, species, site = CASES[name]
    ideal, atoms = ideal_cell(name, (2, 2, 2)), crystal(name, rattle=0.05, around=site)
    run, step = last_state(run_standin(tmp_path / "first", name, atoms, site))
    shell = carrier_shells(run, step)[site]
    assert_same(shell, read_outcar(tmp_path / "first" / "OUTCAR").steps[-1].onsite[site], atol=0)
    source = mapped(atoms, species, ideal)
    host, fractional = source.host, atoms.positions @ np.linalg.inv(source.lattice)
    for k in (4, 17, 30) if name == "mgo" else (1, 5, 9, 14):
        rotation, translation = host.symmetry["rotations"][k], host.symmetry["translations"][k]
        moved = Atoms(atoms.numbers, positions=(fractional @ rotation.T + translation) @ source.lattice, pbc=True)
        moved.cell = ideal.cell
        cartesian = host.point_group[k]
        in_cell = moved.cell.array @ cartesian.T @ np.linalg.inv(moved.cell.array)
        np.testing.assert_allclose(in_cell, np.rint(in_cell), atol=1e-9)  # the supercell has this symmetry too
        run, step = last_state(run_standin(tmp_path / str(k), name, moved, site))
        found = carrier_shells(run, step)[site]
        assert_same(found, (shell[0], *(rotate_occupations(m, cartesian) for m in shell[1:])), atol=3e-4)
        # the orientation that the distortion chooses is the one that is there
        chosen = orientations(shell, source, site, site, mapped(moved, species, ideal))
        assert_same(chosen[0], found, atol=3e-4)


def test_a_harvested_template_puts_the_carrier_on_another_site(tmp_path):
    """The command from the first run's OUTCAR to the OCCMATRIX of the next, which localises on the other sublattice."""
    atoms = crystal("tio2", rattle=0.0, around=3)
    outcar = run_standin(tmp_path / "first", "tio2", atoms, 3)
    sites = mapped(ideal_cell("tio2", (2, 2, 2)), "Ti")
    onto = next(i for i in range(16) if sites.sublattice[i] != sites.sublattice[3])
    target = crystal("tio2", rattle=0.0, around=onto)
    omc = prepare(tmp_path / "omc", target, {**TIO2, "OCCEXT": 1})
    write_poscar(tmp_path / "host.vasp", ideal_cell("tio2", (2, 2, 2)))
    arguments = ["occmatrix", str(outcar), "--onto", str(onto), "--structure", str(omc / "POSCAR")]
    result = CliRunner().invoke(main, [*arguments, "--host", str(tmp_path / "host.vasp"), "-o", str(omc / "OCCMATRIX")])
    assert result.exit_code == 0, result.output
    assert "harvested from atom 3" in result.output and f"onto atom {onto}, 1 of " in result.output
    here(omc)
    imposed = read_outcar(omc / "OUTCAR")
    assert imposed.occ_banner.atoms == (onto,) and int(imposed.steps[-1].moments.argmax()) == onto
    # what a free run with the carrier there would have given
    run, step = last_state(run_standin(tmp_path / "free", "tio2", target, onto))
    assert_same(read_occmatrix(omc / "OCCMATRIX")[onto], carrier_shells(run, step)[onto], atol=2e-3)
    # the imposed run echoes what it was told: it is no template
    with pytest.raises(VaspError, match="imposed here"):
        carrier_shells(*last_state(omc / "OUTCAR"))


# ---------------------------------------------------------------------------------------------------------- the harvest


@pytest.mark.parametrize("down", [False, True])
def test_the_last_complete_step_with_the_carriers_spin_up(tmp_path, down):
    sample = Sample(spin_down=down, n_steps=3, ibrion=-1)
    text = sample.text()
    path = tmp_path / "OUTCAR"
    path.write_text(text[: text.rindex("  FREE ENERGIE")])  # the third step lacks its energy
    run, step = last_state(path)
    assert step.index == 2
    ((site, (degree, *matrices)),) = carrier_shells(run, step).items()
    printed = sample.steps[1]["onsite"][-1]
    assert (site, degree) == (1, 2)
    np.testing.assert_array_equal(matrices, printed[site][::-1] if down else printed[site])
    assert list(carrier_shells(run, step, [0])) == [0]


@pytest.mark.parametrize(
    ("fields", "sites", "words"),
    [
        ({}, [4], "LDAUL"),
        ({"n_steps": 0}, None, "no complete ionic step"),
        ({"unconverged": (3,), "nelm": 8}, None, "not converged"),
        ({"touching": True}, [0], "impossible"),
        ({"lorbit": 0}, None, "LORBIT"),
        ({"nelect": 48.0, "spin_down": False, "first_onsite": 99}, [1], "LDAUPRINT"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path, fields, sites, words):
    (tmp_path / "OUTCAR").write_text(Sample(**fields).text())
    with pytest.raises(VaspError, match=words):
        run, step = last_state(tmp_path / "OUTCAR")
        carrier_shells(run, step, sites)


def test_the_command_says_what_is_wrong(tmp_path):
    result = CliRunner().invoke(main, ["occmatrix", str(tmp_path / "OUTCAR")])
    assert result.exit_code == 1 and "does not exist" in result.output
    (tmp_path / "OUTCAR").write_text(Sample().text())
    result = CliRunner().invoke(main, ["occmatrix", str(tmp_path / "OUTCAR"), "--onto", "1", "-o", str(tmp_path / "o")])
    assert result.exit_code == 1 and "give the host" in result.output and not (tmp_path / "o").exists()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_a_sound_occmatrix(seed):
    """Turned matrices stay symmetric with the same orbital energies, and fit the file's format."""
    sites = mapped(ideal_cell("mgo", (1, 1, 1)), "O")
    shell = generic(1, seed)
    for found in orientations(shell, sites, 4, 6):
        np.testing.assert_allclose(found[1], found[1].T, atol=1e-12)
        np.testing.assert_allclose(np.linalg.eigvalsh(found[2]), np.linalg.eigvalsh(shell[2]), atol=1e-9)
        assert occmatrix_text({6: found}).endswith("\n\n")


# ----------------------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real VASP files in {DATA}")
def test_a_real_polaron_onto_every_titanium(tmp_path):
    """The electron in d_xy of Ti 17 of anatase (VASP 5.4.4): all titanium is equivalent, d_xy is d_xy on each."""
    name = "omc_anataseTiO2_55_localised.OUTCAR"
    said = json.loads((DATA / "truth" / f"{name}.truth.json").read_text())["steps"][-1]["onsite_argmax"]
    run, step = last_state(DATA / f"{name}.gz")
    ((site, shell),) = carrier_shells(run, step).items()
    assert site == said["atom"] - 1 == 16
    np.testing.assert_array_equal(shell[1:], [said["matrix_up"], said["matrix_dn"]])
    vector, moment = carrier_orbital(*shell[1:])
    assert vector == pytest.approx([1, 0, 0, 0, 0], abs=1e-3) and moment == pytest.approx(0.7031)
    titanium = [i for i, s in enumerate(run.symbols) if s == "Ti"]
    onto = [argument for i in titanium for argument in ("--onto", str(i))]
    result = CliRunner().invoke(main, ["occmatrix", str(DATA / f"{name}.gz"), *onto, "-o", str(tmp_path / "OCC")])
    assert result.exit_code == 0, result.output
    matrices = read_occmatrix(tmp_path / "OCC")
    assert sorted(matrices) == titanium
    for found in matrices.values():
        # the site's own shape is only that of D2d within the printed digits
        assert_same(found, shell, atol=5e-3)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real VASP files in {DATA}")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("omc_anataseTiO2_77_failed", "no localised carrier"),
        ("aiida_magmom_000", "no onsite density matrix"),
        ("pmg_merged_numbers", "ISPIN = 1"),
    ],
)
def test_real_runs_that_hold_no_template(name, words):
    with pytest.raises(VaspError, match=words):
        carrier_shells(*last_state(DATA / f"{name}.OUTCAR.gz"))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real VASP files in {DATA}")
def test_the_last_step_of_a_long_real_run():
    run, step = last_state(DATA / "pmg_LDAU_5step.OUTCAR.gz")
    assert step.index == 5 and len(gzip.decompress((DATA / "pmg_LDAU_5step.OUTCAR.gz").read_bytes())) > 1e6
    whole = read_outcar(DATA / "pmg_LDAU_5step.OUTCAR.gz").complete_steps[-1]
    for site, shell in carrier_shells(run, step).items():
        sign = np.sign(whole.cell_moment)
        assert_same(shell, whole.onsite[site] if sign > 0 else (shell[0], *whole.onsite[site][:0:-1]), atol=0)
