"""Structures of a study beside its host: what differs is found, and what is no doped host is refused."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from leopold_model.analysis.defects import defect_distances
from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.protocols import material
from leopold_workflows.vasp.doping import arrangement_faults, arrangements, map_defects, start_faults, with_defect
from leopold_workflows.vasp.study import study, supercell
from leopold_workflows.workchains.dynamics import PolaronDynamicsWorkChain
from leopold_workflows.workchains.label import label_settings

TIO2_F = material("tio2_f")
CARRIER = {key: TIO2_F["carrier"][key] for key in ("kind", "n", "species", "formal_charges")}


@pytest.fixture(scope="module")
def rutile():
    return supercell(TIO2_F["lattice"])


def fault(atoms, host, **carrier):
    """What is found at fault with one structure."""
    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier="electron", carrier_sites=(0,), run="a")
    node = orm.Dict({**CARRIER, **carrier})
    return arrangement_faults(FrameSetData.from_frames([frame]), orm.StructureData(ase=host), node)


def test_substitutions_and_vacancies_are_the_host(rutile):
    assert fault(rutile, rutile) is None
    doped = with_defect(rutile, {"replace": "O", "by": "F"})
    assert doped.get_chemical_formula() == "FO63Ti32" and doped.symbols[-1] == "F"
    moved = doped.copy()
    moved.rattle(0.1, seed=1)
    moved.positions += [0.3, 0.2, 4.0]  # the origin is free
    assert fault(moved, rutile) is None
    vacant = with_defect(rutile, {"replace": "O", "by": None})
    assert len(vacant) == 95 and fault(vacant, rutile, n=2) is None


def test_what_does_not_map_is_refused_by_atom(rutile):
    displaced = rutile.copy()
    displaced.positions[40] += [0, 0, 1.49]
    assert "atom 40 lies" in fault(displaced, rutile) and "run 'a'" in fault(displaced, rutile)
    crowded = rutile.copy()
    crowded.positions[33] = crowded.positions[32] + [0, 0, 0.3]
    assert "atoms 32 and 33 fall on one host site" in fault(crowded, rutile)
    other = rutile.copy()
    other.symbols[other.symbols == "O"] = "S"
    assert "differ on 64 of 96 sites" in fault(other, rutile)


def test_a_slab_needs_vacuum_and_an_upright_cell(rutile):
    def slab(gap, tilt=0.0):
        atoms = rutile.copy()
        atoms.cell[2] += [tilt, 0, gap]
        return atoms

    assert fault(slab(10.0), slab(10.0)) is None
    assert "too much for a crystal and too little for a slab" in fault(slab(5.0), slab(5.0))
    assert "the slab is tilted" in fault(slab(10.0, tilt=1.5), slab(10.0, tilt=1.5))


def test_charges_have_to_balance(rutile):
    doped = with_defect(rutile, {"replace": "O", "by": "F"})
    assert "has the charge +1 by its formal charges and 2 electron(s)" in fault(doped, rutile, n=2)
    assert "set carrier.n to 1" in fault(doped, rutile, n=2)
    assert "or the other kind of carrier" in fault(doped, rutile, kind="hole")
    assert "formal_charges has none of F" in fault(doped, rutile, formal_charges={"Ti": 4, "O": -2})
    assert fault(doped, rutile, formal_charges={}) is None  # nothing is known of them, as with frames from elsewhere


def test_dynamics_starts_from_one_composition_in_any_arrangement(rutile):
    frames = arrangements(rutile, TIO2_F["defect"], CARRIER, 3)
    sites = map_defects(frames.get_frames()[0].to_atoms(), rutile, "Ti")
    nearest = defect_distances(sites)[0]
    found = [nearest[frame.carrier_sites[0]] for frame in frames.get_frames()]
    carriers = nearest[sites.carrier_atoms]
    assert found == sorted(found) and (found[0], found[-1]) == (carriers.min(), carriers.max())
    assert start_faults(frames, orm.StructureData(ase=rutile), "Ti") is None
    pristine = Frame(rutile.numbers, rutile.positions, rutile.cell.array, carrier="electron", carrier_sites=(0,))
    mixed = FrameSetData.from_frames([*frames.get_frames(), pristine])
    assert "FO63Ti32 and O64Ti32: dynamics moves one set of atoms" in start_faults(mixed)
    order = np.roll(np.arange(96), 5)
    turned = replace(pristine, numbers=pristine.numbers[order], positions=pristine.positions[order])
    assert "different orders" in start_faults(FrameSetData.from_frames([pristine, turned]))


def test_a_study_of_a_doped_material_is_whole_and_consistent(standin, leopold_code, rutile):
    """From the protocol alone: its arrangements, the POTCAR and the charge of the dopant, one level of theory."""

    def start(overrides=None, **given):
        builder = PolaronDynamicsWorkChain.get_builder_from_protocol(
            standin, leopold_code, material="tio2_f", protocol="fast", overrides=overrides
        )
        for name, value in given.items():
            builder[name] = value
        return instantiate_process(get_manager().get_runner(), builder).inputs

    inputs = start()
    assert inputs.host.get_formula() == "O64Ti32" and len(inputs.configurations) == 4
    assert set(inputs.seed.vasp.potential) == set(inputs.learn.label.vasp.potential) == {"Ti", "O", "F"}
    assert inputs.learn.label.carrier["formal_charges"]["F"] == -1
    assert inputs.transport.settings["rows"] == [0, 0, 1]

    first = inputs.configurations.get_frames()[0]
    doped = orm.StructureData(ase=first.to_atoms())
    settings = label_settings(inputs.learn.label, doped)
    assert settings != label_settings(inputs.learn.label, inputs.host), "the POTCAR of F belongs to it"
    label = replace(first, energy=-1.0, settings=settings, run="known")
    assert "frames" in start(frames=FrameSetData.from_frames([label]))
    with pytest.raises(ValueError, match="frames: level of theory other, but"):
        start(frames=FrameSetData.from_frames([replace(label, settings="other")]))
    with pytest.raises(ValueError, match=r"configurations: .*do not balance: set carrier\.n to 1"):
        start({"material": {"carrier": {"n": 2}}})
    vacancy = {"material": {"defect": {"by": None}, "carrier": {"n": 2}}}
    pairs = start(vacancy).configurations.get_frames()
    assert {(len(frame), len(frame.carrier_sites)) for frame in pairs} == {(95, 2)}
    with pytest.raises(ValueError, match="33 carriers, but the cell has 32 sites that can take one"):
        start({"material": {"carrier": {"n": 33}}})


def test_a_defect_names_elements(standin):
    for defect in ({"replace": "O", "by": "Fx"}, {"replace": "Ox", "by": None}):
        with pytest.raises(ValueError, match="no chemical symbol"):
            study(standin, material_name="tio2", overrides={"material": {"defect": defect}})
    with pytest.raises(ValueError, match="defect: replace = 'N' is not in the crystal"):
        study(standin, material_name="tio2", overrides={"material": {"defect": {"replace": "N", "by": None}}})
