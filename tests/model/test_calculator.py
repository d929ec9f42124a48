"""The ASE calculator: labels as the model gives them, and the carrier where it was put."""

from __future__ import annotations

import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress

from leopold_model.calculator import LeopoldCalculator
from leopold_model.checkpoint import ModelError
from leopold_model.frames import Frame

from .conftest import random_model, rattled


@pytest.fixture(scope="module")
def atoms_and_calculator():
    atoms = rattled()
    atoms.calc = LeopoldCalculator(random_model(), [3], dtype="float64")
    return atoms, atoms.calc


def test_forces_and_stress_agree_with_finite_differences(atoms_and_calculator):
    atoms, calculator = atoms_and_calculator
    h, moved, energies = 1e-4, atoms.copy(), []
    moved.calc = calculator
    forces, volume = atoms.get_forces(), atoms.get_volume()
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    for sign in (1, -1):
        moved.positions = atoms.positions
        moved.positions[2, 1] += sign * h
        energies.append(moved.get_potential_energy())
    assert forces[2, 1] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=1e-6)
    energies = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[0, 1] += sign * h / 2
        strain[1, 0] += sign * h / 2
        moved.set_cell(atoms.cell.array, scale_atoms=False)
        moved.positions = atoms.positions
        moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        energies.append(moved.get_potential_energy())
    assert stress[0, 1] * volume == pytest.approx((energies[0] - energies[1]) / (2 * h), abs=1e-5)


def test_its_answers_are_a_frame_of_the_carrier_it_was_given():
    """Also where the atoms come from a frame in which the carrier sat elsewhere."""
    labelled = Frame(
        **_plain(rattled()), energy=0.0, carrier_sites=(1,), settings="dft", source="fpmd", run="r", step=4
    )
    atoms = labelled.to_atoms()
    atoms.calc = LeopoldCalculator(random_model(), [3], follow=True)
    energy, moments = atoms.get_potential_energy(), atoms.get_magnetic_moments()
    atoms.calc._sites = (5,)  # where it would be told to be next
    frame = Frame.from_atoms(atoms)
    assert (frame.carrier_sites, frame.carrier) == ((3,), atoms.calc.model.carrier)
    assert (frame.source, frame.settings, frame.run, frame.step) == ("model", "", "r", 4)
    assert frame.energy == energy and np.array_equal(frame.spin_moments, frame.occupations @ [1, -1])
    assert np.allclose(frame.spin_moments, moments) and atoms.get_magnetic_moment() == pytest.approx(moments.sum())


def _plain(atoms) -> dict:
    return {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array}


def test_energy_counts_the_references(atoms_and_calculator):
    atoms, calculator = atoms_and_calculator
    model = calculator.model
    species = model.species_index(atoms.numbers)
    out = model.evaluate(atoms.positions, atoms.cell.array, calculator._edges(atoms), species, np.eye(16)[3])
    assert atoms.get_potential_energy() == pytest.approx(float(out.energy) + 8 * -4.0 + 8 * -2.0, abs=1e-10)


def test_moving_the_carrier_by_hand_changes_the_surface(atoms_and_calculator):
    atoms, calculator = atoms_and_calculator
    energy = atoms.get_potential_energy()
    calculator.carrier_sites = (5,)
    assert abs(atoms.get_potential_energy() - energy) > 1e-6
    calculator.carrier_sites = (3,)
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)


def test_follow_moves_the_carrier_to_the_largest_moment():
    atoms = rattled()
    atoms.calc = LeopoldCalculator(random_model(), [3], follow=True, dtype="float64")
    moments = atoms.get_magnetic_moments()
    assert atoms.calc.carrier_sites == (int(np.argmax(moments)),)


def test_unseen_species_and_sites_outside_the_cell_are_refused():
    atoms = rattled()
    atoms.calc = LeopoldCalculator(random_model(), [99])
    with pytest.raises(ValueError, match=r"carrier sites \[99\]: give distinct atom indices from 0 to 15"):
        atoms.get_potential_energy()
    atoms.calc = LeopoldCalculator(random_model(), [3])
    atoms.symbols[0] = "Ti"
    with pytest.raises(ModelError, match="species Ti not in this model, which was trained on O, Mg"):
        atoms.get_potential_energy()


def test_wrong_number_of_carriers_is_refused():
    with pytest.raises(ModelError, match="trained with 1 carrier"):
        LeopoldCalculator(random_model(), [1, 2])
