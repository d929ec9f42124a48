"""Host reduction and site mapping: against hand-counted crystals and displaced, shifted, strained, defective
cells."""

import numpy as np
import pytest

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.sites import Host, host_from_dynamics, map_sites

from .crystals import host, mgo, nio_af2, rutile, site_map


def test_primitive_host_of_any_supercell():
    for repeat in [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 2, 2)]:
        h = host(mgo(repeat), "O")
        assert len(h.numbers) == 2
        assert abs(np.linalg.det(h.lattice)) == pytest.approx(4.2**3 / 4)
        assert len(h.symmetry["rotations"]) == 48


def test_magnetic_order_doubles_the_primitive_cell():
    atoms, moments = nio_af2()
    assert len(host(atoms, "Ni").numbers) == 2
    magnetic = host(atoms, "Ni", moments)
    assert len(magnetic.numbers) == 4
    assert sorted(magnetic.moments) == pytest.approx([-1.7, 0, 0, 1.7])


def test_host_keeps_orientation():
    atoms = rutile((2, 2, 4))
    atoms.rotate(33, (1, 2, 3), rotate_cell=True)
    h = host(atoms, "Ti")
    sites = site_map(atoms, h)
    assert np.abs(sites.displacement).max() < 1e-6
    # every ideal position must be the atom's own, up to the common origin and whole lattice vectors
    offset = (sites.positions - atoms.positions) @ np.linalg.inv(atoms.cell.array)
    assert np.abs((offset - offset[0]) - np.rint(offset - offset[0])).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_thermal_structure_is_symmetrised(seed):
    for atoms, species, n_atoms, n_operations in [(mgo((2, 2, 2)), "O", 2, 48), (rutile((2, 2, 4)), "Ti", 6, 16)]:
        atoms.positions += 0.08 * np.random.default_rng(seed).normal(size=(len(atoms), 3))
        h = host_from_dynamics(atoms.numbers, atoms.positions, atoms.cell.array, sublattice=species)
        assert len(h.numbers) == n_atoms
        assert len(h.symmetry["rotations"]) == n_operations


def test_molten_structure_asks_for_the_host():
    atoms = mgo((2, 2, 2))
    atoms.positions += 0.6 * np.random.default_rng(0).normal(size=(64, 3))
    with pytest.raises(AnalysisError, match="give the host structure"):
        host_from_dynamics(atoms.numbers, atoms.positions, atoms.cell.array, sublattice="O")


def test_mapping_survives_shift_displacement_and_strain():
    perfect = mgo((2, 2, 2))
    h = host(perfect, "O")
    reference = site_map(perfect, h)
    moved = perfect.copy()
    moved.set_cell(perfect.cell.array * 1.01, scale_atoms=True)
    rng = np.random.default_rng(0)
    moved.positions += [1.3, -0.4, 7.7] + 0.1 * rng.normal(size=(64, 3))
    sites = site_map(moved, h)
    for i, j in [(0, 1), (3, 40), (60, 63)]:
        assert sites.distance(i, j) == pytest.approx(1.01 * reference.distance(i, j))
    assert np.allclose(sites.displacement.mean(axis=0), 0, atol=1e-9)
    assert not sites.substitutions
    assert len(sites.vacancies) == 0


def test_defects_are_found():
    atoms = rutile((2, 2, 4))
    h = host(atoms, "Ti")
    oxygen = np.flatnonzero(atoms.numbers == 8)
    atoms.numbers[oxygen[5]] = 9
    vacancy = atoms.get_scaled_positions()[oxygen[9]]
    del atoms[oxygen[9]]
    sites = site_map(atoms, h)
    assert sites.substitutions == (oxygen[5],)
    assert len(sites.vacancies) == 1
    shift = (sites.positions[0] - atoms.positions[0]) @ np.linalg.inv(atoms.cell.array)
    difference = sites.vacancies[0] - shift - vacancy
    assert np.allclose(difference, np.rint(difference), atol=1e-6)
    assert len(sites.carrier_atoms) == 32


def test_distance_is_ases_minimum_image():
    atoms = rutile((2, 2, 3))
    sites = site_map(atoms, host(atoms, "Ti"))
    for i, j in [(0, 1), (2, 17), (5, 40), (11, 70)]:
        assert sites.distance(i, j) == pytest.approx(atoms.get_distance(i, j, mic=True))


def test_ambiguous_image_is_told():
    atoms = mgo((2, 2, 2))
    sites = site_map(atoms, host(atoms, "O"))
    oxygen = np.flatnonzero(atoms.numbers == 8)
    number = {round(sites.distance(oxygen[0], j), 2): len(sites.shortest(oxygen[0], j)) for j in oxygen[1:]}
    assert number == {2.97: 1, 4.2: 2, 5.14: 2, 5.94: 4, 7.27: 8}


def test_json_round_trip():
    atoms, moments = nio_af2()
    for h in (host(mgo(), "O"), host(atoms, "Ni", moments)):
        again = Host.from_dict(h.to_dict())
        assert again.to_dict() == h.to_dict()
        assert len(again.symmetry["rotations"]) == len(h.symmetry["rotations"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.set_cell(a.cell.array * 1.3, scale_atoms=True), "not a supercell of the host"),
        (lambda a: a.positions.__setitem__(0, a.positions[0] + [1.05, 1.05, 1.05]), "atom 0 lies"),
        (lambda a: a.positions.__setitem__(9, a.positions[1]), "fall on one host site"),
        (lambda a: a.set_atomic_numbers([26] * len(a)), "wrong host structure"),
    ],
)
def test_unusable_structures_are_explained(spoil, message):
    atoms = mgo((2, 2, 2))
    h = host(atoms, "O")
    spoil(atoms)
    with pytest.raises(AnalysisError, match=message):
        map_sites(h, atoms.numbers, atoms.positions, atoms.cell.array)


def test_carrier_species_must_exist():
    with pytest.raises(AnalysisError, match="choose one of Mg, O"):
        host(mgo(), "Ti")
