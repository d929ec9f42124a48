"""What is wrong with the inputs of a polaron run, said before it is submitted: field, value and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from aiida import orm
from parsevasp.constants import incar_tags

from leopold_model.vasp.incar import conflicts, polaron_incar
from leopold_model.vasp.occmatrix import omc_matrices
from leopold_workflows.vasp import adapter

# tags of the occupation-matrix patch and of newer VASP versions that aiida-vasp's list has not
EXTRA_TAGS = {
    "occext", "nelmin", "nelmdl", "lasph", "langevin_gamma", "kpar", "ncore", "csvr_period", "nhc_nchains",
    "nhc_period", "nhc_nrespa", "nhc_ns", "iopt",
}  # fmt: skip
OPEN_TAGS = re.compile(r"occdir\d+|ml_\w+")
CARRIER_KEYS = ("kind", "n", "species", "formal_charges", "orbital", "orbitals", "delocalised")
HUBBARD_KEYS = ("l", "u", "j")


def faults(inputs: Mapping) -> str | None:
    """Every fault of the inputs of a `LeopoldVaspCalculation`, one line each; None when there is none."""
    structure, parameters = inputs["structure"], adapter.lower(inputs["parameters"].get_dict())
    potential, carrier = inputs.get("potential", {}), inputs["carrier"].get_dict()
    blocking = [*_kinds(structure), *_potentials(structure, potential), *_carrier(carrier, structure)]
    found = [*blocking, *_tags(parameters), *_occupation_matrix(parameters, "occmatrix" in inputs)]
    # electrons can only be counted once potentials and carrier are known to be there
    try:
        cell = None if blocking else adapter.cell_of(structure, potential, carrier)
    except ValueError as error:
        return "\n".join([*found, f"potential: {error}"])
    found += [f"parameters: {message}" for message in conflicts(parameters, cell)]
    if "dynamics" in inputs:
        found += _selective(inputs["dynamics"], structure)
    if "velocities" in inputs:
        found += _velocities(inputs["velocities"], structure)
    return "\n".join(found) or None


def study_faults(
    vasp: Mapping, structure: orm.StructureData, carrier: orm.Dict, incar: Mapping, stage: str, where: str
) -> str | None:
    """Every fault that the runs of `stage` of a WorkChain would have, one line each; None when there is none.

    `vasp` is the namespace of `adapter.expose`; `incar` are the tags of the stage, given as input `where`.
    """
    potential, asked = vasp["potential"], carrier.get_dict()
    hubbard = vasp["hubbard"].get_dict() if "hubbard" in vasp else {}
    common, own = adapter.lower(vasp["parameters"].get_dict()), adapter.lower(incar)
    found = [
        *_kinds(structure),
        *_potentials(structure, potential, "vasp.potential"),
        *_carrier(asked, structure),
        *_hubbard(hubbard),
    ]
    countable = not found
    found += [*_tags(common, "vasp.parameters"), *_tags(own, where)]
    if countable:
        try:
            polaron_incar(stage, adapter.cell_of(structure, potential, asked, hubbard), **(common | own))
        except ValueError as error:
            found.append(f"vasp.parameters, {where}: {error}")
    return "\n".join(found) or None


def impose_faults(vasp: Mapping, structure: orm.StructureData, carrier: orm.Dict, sites: Iterable[int]) -> str | None:
    """Why occupations cannot be imposed on `sites`, None when they can; to be asked after `study_faults`."""
    if "hubbard" not in vasp:
        return "vasp.hubbard is missing: occupations can only be imposed on species with DFT+U; give {kind: {l, u}}"
    hubbard, asked = vasp["hubbard"].get_dict(), carrier.get_dict()
    for site in sites:
        kind = structure.sites[site].kind_name
        if kind not in hubbard:
            return (
                f"vasp.hubbard: {', '.join(hubbard) or 'empty'}, but the carrier shall be put on atom {site}, {kind}: "
                f"add {kind}: {{l, u}} (u = 0 prints the occupations without correcting)"
            )
        try:
            orbital = asked.get("orbitals", {}).get(str(site), asked.get("orbital"))
            omc_matrices({}, site, carrier=asked["kind"], angular=int(hubbard[kind]["l"]), orbital=orbital)
        except ValueError as error:
            return f"carrier: {error}"
    return None


def level_fault(found: Iterable[str], settings: str) -> str | None:
    """Why labels made with `settings`, a hash, cannot join frames that have those `found`; None when they can."""
    for hash_ in sorted(found):
        if hash_ != settings:
            return (
                f"level of theory {hash_ or 'unknown'}, but labels will have {settings}: a model of both would learn "
                "the difference as physics. Give this study the U, POTCARs, k-points, ENCUT and precision of the "
                f"frames; or, if you know that they are the same, import the frames with --settings {settings}"
            )
    return None


def _kinds(structure: orm.StructureData) -> Iterator[str]:
    order = adapter.kinds(structure)
    if len(set(order)) < len(order):
        yield (
            f"structure: the sites come in the blocks {' '.join(order)}; sort them so that every kind is one block, "
            "or POTCAR and the LDAU tags would be repeated for each"
        )
    for kind in structure.kinds:
        if kind.name != kind.symbol:
            yield f"structure: kind {kind.name!r} of element {kind.symbol}: name every kind by its chemical symbol"


def _potentials(structure: orm.StructureData, potential: Mapping, where: str = "potential") -> Iterator[str]:
    for kind in adapter.kinds(structure):
        if kind not in potential:
            given = ", ".join(potential) or "none"
            yield f"{where}: no POTCAR for kind {kind!r} (given: {given}); add {where}.{kind}"


def _hubbard(hubbard: Mapping) -> Iterator[str]:
    for kind, values in hubbard.items():
        if not isinstance(values, Mapping) or not isinstance(values.get("l"), int) or not 0 <= values["l"] <= 3:
            yield f"hubbard: {kind} = {values!r}; give l, the shell (1 for p, 2 for d, 3 for f), and u in eV"
            continue
        for key, value in values.items():
            if key not in HUBBARD_KEYS:
                near = difflib.get_close_matches(str(key), HUBBARD_KEYS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(HUBBARD_KEYS)}"
                yield f"hubbard: unknown key {key!r} of {kind}: {hint}"
            elif not isinstance(value, int | float):
                yield f"hubbard: {kind}.{key} = {value!r}; give a number"


def _tags(parameters: Mapping, where: str = "parameters") -> Iterator[str]:
    known = {*incar_tags, *EXTRA_TAGS}
    for tag in parameters:
        if tag not in known and not OPEN_TAGS.fullmatch(tag):
            near = difflib.get_close_matches(tag, known, n=1)
            hint = f"did you mean {near[0].upper()}?" if near else "check its spelling"
            yield f"{where}: {tag.upper()} is not an INCAR tag: {hint}"


def _occupation_matrix(parameters: Mapping, given: bool) -> Iterator[str]:
    asked = bool(parameters.get("occext", 0))
    if asked and not given:
        yield "parameters: OCCEXT = 1 reads a file OCCMATRIX; give it as input `occmatrix` or remove OCCEXT"
    if given and not asked:
        yield "occmatrix: VASP reads it only with OCCEXT = 1; set that in `parameters` or leave the input away"


def _carrier(carrier: Mapping, structure: orm.StructureData) -> Iterator[str]:
    for key in carrier:
        if key not in CARRIER_KEYS:
            near = difflib.get_close_matches(key, CARRIER_KEYS, n=1)
            yield f"carrier: unknown key {key!r}: {f'did you mean {near[0]!r}?' if near else ', '.join(CARRIER_KEYS)}"
    if carrier.get("kind") not in ("electron", "hole"):
        yield f"carrier: kind = {carrier.get('kind')!r}; choose 'electron' or 'hole'"
    if not isinstance(carrier.get("n"), int) or carrier["n"] < 1:
        yield f"carrier: n = {carrier.get('n')!r}; give the number of carriers, 1 or more"
    symbols = {kind.symbol for kind in structure.kinds}
    species = carrier.get("species") or []
    if not isinstance(species, list) or not set(species) & symbols:
        yield f"carrier: species = {species!r}; list those that can take it, of the cell's {sorted(symbols)}"
        return
    n_sites = sum(site.kind_name in species for site in structure.sites)
    if isinstance(carrier.get("n"), int) and carrier["n"] > n_sites:
        yield f"carrier: n = {carrier['n']}, but the cell has {n_sites} atoms of {', '.join(species)}: give fewer"
    charges = carrier.get("formal_charges") or {}
    if charges and symbols - set(charges):
        missing = ", ".join(sorted(symbols - set(charges)))
        yield f"carrier: formal_charges has none of {missing}: without it the electrons of the cell cannot be counted"


def _velocities(node: orm.ArrayData, structure: orm.StructureData) -> Iterator[str]:
    shape = node.get_array("velocities").shape if "velocities" in node.get_arraynames() else None
    expected = (len(structure.sites), 3)
    if shape != expected:
        yield f"velocities: array 'velocities' has shape {shape}, expected {expected} in Angstrom/fs"


def _selective(node: orm.Dict, structure: orm.StructureData) -> Iterator[str]:
    shape = np.shape(node.get_dict().get("positions_dof", []))
    expected = (len(structure.sites), 3)
    if shape != expected:
        yield f"dynamics: positions_dof has shape {shape}, expected {expected}: true where a coordinate may move"


def tag_faults(tags: Mapping) -> str | None:
    """Whether `tags` are fields of a frame that a run may set."""
    allowed = ("run", "source", "label", "pathway", "requested_sites", "temperature")
    for key in tags:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            return f"unknown tag {key!r}: {f'did you mean {near[0]!r}?' if near else ', '.join(allowed)}"
    return None
