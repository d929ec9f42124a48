"""Calcfunctions of patterns: first configurations, their structures, labels from relaxations."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from leopold_model.config import parse
from leopold_model.frames import Frame
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, random_configuration
from leopold_model.patterns.labels import Labels, LabelSet
from leopold_model.patterns.lattice_file import Instance, lattice_from_text
from leopold_model.patterns.point_charges import point_charge_energies
from leopold_model.patterns.structures import LOCALISED, PatternStructure, from_structure, to_structure
from leopold_model.patterns.supercell import Supercell
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData
from leopold_workflows.pattern_settings import InitialSettings

POOL = 30  # random configurations from which the lowest by point charges is taken


def read_lattice(node: orm.SinglefileData) -> Instance:
    """The lattice in a YAML node."""
    return lattice_from_text(node.get_content(), "lattice")


def composition_of(instance: Instance, supercell: str, counts: dict | None) -> Composition:
    """`counts`, or the usual ones of a named supercell."""
    return Composition(instance.lattice, counts) if counts else instance.composition(supercell)


@calcfunction
def initial_configurations(
    lattice: orm.SinglefileData, supercell: orm.Str, counts: orm.Dict, settings: orm.Dict, seed: orm.Int
) -> orm.ArrayData:
    """`n` inequivalent configurations: a share the lowest of many by screened point charges, the others random."""
    instance, wanted = read_lattice(lattice), parse(settings.get_dict(), InitialSettings)
    cell, composition = (
        instance.supercell(supercell.value),
        composition_of(instance, supercell.value, counts.get_dict()),
    )
    rng = np.random.default_rng(seed.value)
    drawn = np.array([random_configuration(cell, composition, rng) for _ in range(POOL * wanted.n)])
    by_charge = drawn[np.argsort(point_charge_energies(cell, drawn), kind="stable")]
    n_charged = round(wanted.charge_share * wanted.n)
    chosen: dict[str, np.ndarray] = {}
    for pool, upto in ((by_charge, n_charged), (drawn, wanted.n)):
        for row in pool:
            if len(chosen) >= upto:
                break
            chosen.setdefault(cell.key(row), row)
    return orm.ArrayData({"occupations": np.array(list(chosen.values()))})


# ------------------------------------------------------------------------------------------- configurations to VASP


def requests(cell: Supercell, configurations: orm.ArrayData) -> dict[str, np.ndarray]:
    """By canonical key, each configuration in the setting in which its pattern without carriers is canonical."""
    rows = configurations.get_array("occupations").reshape(-1, cell.n_sites)
    return {cell.key(row): cell.aligned(row) for row in rows}


def pattern_key(cell: Supercell, occupations: np.ndarray) -> str:
    """Key of a configuration without its carriers."""
    return cell.key(cell.without_carriers(occupations))


def carriers_in(cell: Supercell, occupations: np.ndarray) -> int:
    """Number of carriers of a configuration."""
    return int(np.count_nonzero(occupations) - np.count_nonzero(cell.without_carriers(occupations)))


@calcfunction
def pattern_structure(
    lattice: orm.SinglefileData, supercell: orm.Str, configurations: orm.ArrayData, pattern: orm.Str
) -> dict:
    """The ideal structure of a pattern of defects without carriers, and which of its coordinates may move."""
    cell = read_lattice(lattice).supercell(supercell.value)
    for row in requests(cell, configurations).values():
        if pattern_key(cell, row) == pattern.value:
            return nodes_of(to_structure(cell, cell.without_carriers(row)))
    raise PatternError(f"no configuration with the pattern {pattern.value}")


@calcfunction
def configuration_structure(
    lattice: orm.SinglefileData,
    supercell: orm.Str,
    configurations: orm.ArrayData,
    key: orm.Str,
    delocalised: FrameSetData,
    carrier: orm.Dict,
    orbitals: orm.Dict,
) -> dict:
    """The atoms of a configuration where its pattern relaxed without spin, the atoms to put carriers on, and `carrier`
    with their number and, by site, the orbital that `orbitals` has for the label of the site."""
    cell = read_lattice(lattice).supercell(supercell.value)
    occupations = requests(cell, configurations)[key.value]
    wanted = to_structure(cell, occupations)
    relaxed = next(f for f in delocalised.get_frames() if f.label == pattern_key(cell, occupations))
    atoms = wanted.atoms
    atoms.positions = relaxed.positions
    return {
        **nodes_of(replace(wanted, atoms=atoms)),
        "sites": orm.List(sorted(wanted.carrier_sites)),
        "carrier": orm.Dict(carrier_of(wanted, carrier.get_dict(), orbitals.get_dict())),
    }


def carrier_of(wanted: PatternStructure, carrier: dict, orbitals: dict) -> dict:
    """`carrier` with the number of them and, by site, the orbital that `orbitals` has for the label of the site."""
    by_site = {
        str(site): orbitals[label]
        for site, label in zip(wanted.carrier_sites, wanted.carrier_labels, strict=True)
        if label in orbitals
    }
    return carrier | {"n": len(wanted.carrier_sites)} | ({"orbitals": by_site} if by_site else {})


def nodes_of(wanted: PatternStructure) -> dict:
    """`structure`, and as `dynamics` which of its coordinates may move."""
    atoms = wanted.atoms
    fixed = atoms.constraints[0].index if atoms.constraints else []
    free = ~np.isin(np.arange(len(atoms)), fixed)
    plain = atoms.copy()
    plain.set_constraint()
    plain.pbc = True  # as VASP has it
    plain.set_initial_magnetic_moments(None)
    dynamics = orm.Dict({"positions_dof": [[bool(f)] * 3 for f in free]})
    return {"structure": orm.StructureData(ase=plain), "dynamics": dynamics}


# ------------------------------------------------------------------------------------------------ VASP to labels


@calcfunction
def gather_delocalised(**relaxations: FrameSetData) -> FrameSetData:
    """The last frame of each relaxation without spin, its `label` the key of the pattern; `known` ones go first."""
    frames = relaxations.pop("known").get_frames() if "known" in relaxations else []
    for name in sorted(relaxations):
        last = relaxations[name].get_frames()[-1]
        frames.append(replace(last, label=name.removeprefix("pattern_")))
    return FrameSetData.from_frames(frames)


@calcfunction
def reference_energy(delocalised: FrameSetData) -> orm.Float:
    """The lowest energy of a pattern without localised carriers: labels are relative to it."""
    return orm.Float(min(frame.energy for frame in delocalised.get_frames()))


@calcfunction
def gather_labels(
    lattice: orm.SinglefileData,
    supercell: orm.Str,
    configurations: orm.ArrayData,
    delocalised: FrameSetData,
    reference: orm.Float,
    max_force: orm.Float,
    failed: orm.Dict,
    **released,
) -> dict:
    """`labels` of the configurations that were reached, and `outcomes` of all that were asked for.

    `released` holds `relaxation_<key>` and `verdict_<key>` of every release that ended; `failed` {key: exit status} of
    the others. Carriers are where the moment is above 0.5 mu_B. An outcome is `verified` where that is the
    configuration asked for and `moved` where it is another one; both are labels. All others are not: `delocalised`,
    `other_spin`, `not_converged`, `not_relaxed` (a force above `max_force`), `off_lattice` (a carrier or a defect where
    the lattice has no site for it), `failed`. Patterns without carriers (`delocalised`) are labels as well.
    """
    instance = read_lattice(lattice)
    cell = instance.supercell(supercell.value)
    told = _predictions(cell, configurations)
    rows, energies, outcomes = [], [], {}
    for key, wanted in requests(cell, configurations).items():
        outcome = {"predicted_eV": told[key][0], "spread_eV": told[key][1], "requested": wanted.tolist()}
        if f"verdict_{key}" not in released:
            outcome |= {"outcome": "failed", "exit_status": failed.get_dict().get(key)}
        else:
            node = released[f"relaxation_{key}"]
            found = _reached(cell, wanted, node.get_frames()[-1], released[f"verdict_{key}"], max_force.value)
            outcome |= {"origin": node.uuid, **found}
            if "reached" in found:
                energy = found["energy_eV"] - reference.value
                outcome |= {"energy_eV": energy, "reached_key": cell.key(np.array(found["reached"]))}
                rows.append(found["reached"])
                energies.append(energy)
        outcomes[key] = outcome
    for frame in delocalised.get_frames():
        rows.append(from_structure(cell, _bare(frame), ())[0].tolist())
        energies.append(frame.energy - reference.value)
    names = (
        "verified", "moved", "delocalised", "merged", "other_spin", "not_converged", "not_relaxed", "off_lattice",
        "failed",
    )  # fmt: skip
    counts = {name: sum(row["outcome"] == name for row in outcomes.values()) for name in names}
    labels = LabelSet(instance, (Labels(cell, np.array(rows), np.array(energies)),)).deduplicated()
    return {
        "labels": _labels_node(labels),
        "outcomes": orm.Dict({"counts": counts, "total": len(outcomes), "labels": outcomes}),
    }


def _predictions(cell: Supercell, configurations: orm.ArrayData) -> dict[str, tuple]:
    """By key, what the model that suggested the configuration predicted, and how much its members disagreed (eV)."""
    rows = configurations.get_array("occupations").reshape(-1, cell.n_sites)
    if "energies" not in configurations.get_arraynames():
        return {cell.key(row): (None, None) for row in rows}
    predicted = (configurations.get_array(name).tolist() for name in ("energies", "spreads"))
    return {cell.key(row): pair for row, pair in zip(rows, zip(*predicted, strict=True), strict=True)}


def _reached(cell: Supercell, wanted: np.ndarray, last: Frame, verdict: orm.Dict, max_force: float) -> dict:
    """What a release came to: `outcome`, and of a label the configuration `reached` and the total energy."""
    n = len(verdict["requested"])
    carriers = np.flatnonzero(np.abs(last.moments) > LOCALISED)
    structure = to_structure(cell, wanted)
    fixed = structure.atoms.constraints[0].index if structure.atoms.constraints else []
    force = float(np.linalg.norm(np.delete(last.forces, fixed, axis=0), axis=1).max())
    found = {"outcome": verdict["outcome"], "max_force": force}
    if verdict["outcome"] not in ("verified", "moved"):
        return found
    if len(carriers) != n:
        return found | {"outcome": "delocalised"}
    if force > max_force:
        return found | {"outcome": "not_relaxed"}
    try:
        reached = from_structure(cell, _bare(last), carriers.tolist())[0]
    except PatternError as error:
        return found | {"outcome": "off_lattice", "why": str(error)}
    same = cell.key(reached) == cell.key(wanted)
    return found | {
        "outcome": "verified" if same else "moved",
        "reached": reached.tolist(),
        "energy_eV": last.energy,
    }


def _bare(frame: Frame):
    """Atoms without moments: carriers are told apart."""
    return replace(frame, moments=None, occupations=None).to_atoms()


@calcfunction
def merge_labels(**sets: PatternLabelsData) -> PatternLabelsData:
    """All labels of `sets`; of equivalent configurations the one of lowest energy."""
    parts = [sets[name].get_labels() for name in sorted(sets)]
    groups: dict[bytes, list[Labels]] = {}
    for group in (g for part in parts for g in part.groups):
        groups.setdefault(group.supercell.hermite.tobytes(), []).append(group)
    joined = tuple(
        Labels(
            same[0].supercell,
            np.concatenate([g.occupations for g in same]),
            np.concatenate([g.energies for g in same]),
        )
        for same in groups.values()
    )
    return _labels_node(LabelSet(parts[0].instance, joined).deduplicated())


def _labels_node(labels: LabelSet) -> PatternLabelsData:
    with tempfile.TemporaryDirectory() as folder:
        return PatternLabelsData.from_labels(labels, Path(folder))
