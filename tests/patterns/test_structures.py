"""Configurations as atoms and back, whatever was done to the atoms in between."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from leopold_model.frames import Frame
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, random_configuration
from leopold_model.patterns.labels import labels_from_frames
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.structures import from_structure, to_structure

CASES = [("tio2_110", "6x4"), ("tio2_110", "12x2"), ("srtio3_001", "4x4"), ("rutile_f", "2x2x3")]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_round_trip_through_relaxed_shuffled_atoms(name, size):
    instance = load_lattice(name)
    cell = instance.supercell(size)
    rng = np.random.default_rng(5)
    for seed in range(3):
        occupations = random_configuration(cell, instance.composition(size), rng)
        atoms = to_structure(cell, occupations).atoms
        atoms.set_constraint()
        atoms.rattle(0.12, seed=seed)
        atoms.positions += [0.4, -0.3, 0.2]
        shuffled = atoms[rng.permutation(len(atoms))]
        found, atom_of_site = from_structure(cell, shuffled)
        np.testing.assert_array_equal(found, occupations)
        assert (atom_of_site < 0).sum() == sum(
            (occupations == k + 1).sum() for k, s in enumerate(cell.lattice.species) if s.kind == "vacancy"
        )


def test_the_slab_has_the_atoms_moments_and_targets_of_the_paper():
    tio2 = load_lattice("tio2_110")
    cell = tio2.supercell("6x4")
    occupations = random_configuration(cell, tio2.composition("6x4"), np.random.default_rng(0))
    made = to_structure(cell, occupations)
    counts = made.atoms.symbols.formula.count()
    assert counts == {"Ti": 240, "O": 480 - 4}
    moments = made.atoms.get_initial_magnetic_moments()
    np.testing.assert_array_equal(np.flatnonzero(moments), sorted(made.carrier_sites))
    assert moments.sum() == 8 and len(made.carrier_sites) == 8
    heights = made.atoms.positions[list(made.carrier_sites), 2]
    top = heights.max()
    assert [("S0A" if h > top - 1 else "S1A") for h in heights] == list(made.carrier_labels)
    fixed = made.atoms.constraints[0].index
    assert len(fixed) == 12 * 24 and made.atoms.positions[fixed, 2].max() < heights.min()


def test_dopants_replace_their_host_and_blocks_stay_together():
    rutile = load_lattice("rutile_f")
    cell = rutile.supercell("3x3x4")
    made = to_structure(cell, random_configuration(cell, rutile.composition("3x3x4"), np.random.default_rng(0)))
    assert made.atoms.get_chemical_symbols() == ["Ti"] * 72 + ["O"] * 142 + ["F"] * 2


def test_carriers_come_from_moments_or_from_named_sites():
    tio2 = load_lattice("tio2_110")
    cell = tio2.supercell("2x2")
    composition = Composition(tio2.lattice, {"VO": 1, "polaron": 2})
    occupations = random_configuration(cell, composition, np.random.default_rng(2))
    made = to_structure(cell, occupations)
    bare = made.atoms.copy()
    bare.set_initial_magnetic_moments(None)
    assert (from_structure(cell, bare)[0] == np.where(occupations == 1, 0, occupations)).all()
    np.testing.assert_array_equal(from_structure(cell, bare, made.carrier_sites)[0], occupations)
    moments = np.zeros(len(bare))
    moments[list(made.carrier_sites)] = -0.85
    bare.calc = SinglePointCalculator(bare, magmoms=moments)
    np.testing.assert_array_equal(from_structure(cell, bare)[0], occupations)


def test_structures_that_do_not_map_are_refused():
    tio2 = load_lattice("tio2_110")
    cell = tio2.supercell("2x2")
    host = to_structure(cell, np.zeros(cell.n_sites)).atoms
    moved = host.copy()
    moved.positions[100] += [0, 0, 9.0]
    with pytest.raises(PatternError, match=r"atom 100 \(O\) lies"):
        from_structure(cell, moved)
    wrong = host.copy()
    wrong.numbers[np.argmax(wrong.positions[:, 2])] = 9
    with pytest.raises(PatternError, match=r"\(Obr\) holds F, but may hold VO"):
        from_structure(cell, wrong)
    deep = host.copy()
    del deep[[int(np.argmin(deep.positions[:, 2]))]]
    with pytest.raises(PatternError, match="has no label: a defect here"):
        from_structure(cell, deep)
    with pytest.raises(PatternError, match="is not the supercell"):
        from_structure(tio2.supercell("3x2"), host)
    deeper = int(np.argmin(np.where(host.numbers == 22, host.positions[:, 2], np.inf)))
    with pytest.raises(PatternError, match="no label in tio2_110"):
        from_structure(cell, host, [deeper])
    double = host.copy()
    double.append("O")
    double.positions[-1] = double.positions[20] + 0.3
    with pytest.raises(PatternError, match="on the same site"):
        from_structure(cell, double)


def test_an_adatom_goes_to_its_position_and_comes_back():
    from ase.build import fcc100

    from leopold_model.patterns.lattice import Species, lattice_from_structure

    slab = fcc100("Cu", (1, 1, 3), vacuum=6.0, periodic=True)
    slab.pbc = (True, True, False)
    top = slab.get_scaled_positions()[:, 2].max()
    height = top + 1.8 / slab.cell[2, 2]
    hollow = np.array([slab.get_scaled_positions()[2, 0] + 0.5, slab.get_scaled_positions()[2, 1] + 0.5, height])
    lattice = lattice_from_structure(
        slab, [Species("Pt", "adatom", 0, element="Pt")], {"hollow": hollow[None]}, {"hollow": ["Pt"]}
    )
    from leopold_model.patterns.supercell import Supercell

    cell = Supercell(lattice, np.array([3, 3, 1]))
    occupations = random_configuration(cell, Composition(lattice, {"Pt": 2}), np.random.default_rng(0))
    made = to_structure(cell, occupations)
    assert made.atoms.symbols.formula.count() == {"Cu": 27, "Pt": 2}
    np.testing.assert_array_equal(from_structure(cell, made.atoms)[0], occupations)


def test_relaxed_frames_become_labels_for_the_sites_they_ended_on():
    tio2 = load_lattice("tio2_110")
    cell, composition = tio2.supercell("2x2"), Composition(tio2.lattice, {"VO": 1, "polaron": 2})
    drawn = [random_configuration(cell, composition, np.random.default_rng(k)) for k in range(3)]
    frames = []
    for k, occupations in enumerate(drawn):
        made = to_structure(cell, occupations)
        made.atoms.rattle(0.05, seed=k)
        frames.append(
            Frame(
                made.atoms.numbers,
                made.atoms.positions,
                made.atoms.cell.array,
                energy=-10.0 - k,
                carrier_sites=made.carrier_sites,
            )
        )
    frames.append(replace(frames[0], energy=float("nan")))
    frames.append(replace(frames[0], converged=False))
    frames.append(replace(frames[0], positions=frames[0].positions + 3 * np.eye(3)[np.arange(len(frames[0])) % 3]))
    labels, refused = labels_from_frames(cell, frames)
    np.testing.assert_array_equal(labels.occupations, drawn)
    np.testing.assert_array_equal(labels.energies, [-10.0, -11.0, -12.0])
    assert list(refused) == [3, 4, 5]
    assert refused[3] == "no energy" and refused[4] == "not converged" and "A from the nearest site" in refused[5]
