"""What is wrong with the inputs of a polaron run, said before it is submitted: field, value and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from aiida import orm
from parsevasp.constants import incar_tags

from leopold_model.vasp.incar import conflicts
from leopold_workflows.vasp import adapter

# tags of the occupation-matrix patch and of newer VASP versions that aiida-vasp's list has not
EXTRA_TAGS = {"occext", "ml_lmlff", "ml_mode", "nelmin", "nelmdl", "lasph", "langevin_gamma", "kpar", "ncore"}
CARRIER_KEYS = ("kind", "n", "species", "formal_charges", "orbital")


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
    if "velocities" in inputs:
        found += _velocities(inputs["velocities"], structure)
    return "\n".join(found) or None


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


def _potentials(structure: orm.StructureData, potential: Mapping) -> Iterator[str]:
    for kind in adapter.kinds(structure):
        if kind not in potential:
            given = ", ".join(potential) or "none"
            yield f"potential: no POTCAR for kind {kind!r} (given: {given}); add potential.{kind}"


def _tags(parameters: Mapping) -> Iterator[str]:
    known = {*incar_tags, *EXTRA_TAGS}
    for tag in parameters:
        if tag not in known and not re.fullmatch(r"occdir\d+", tag):
            near = difflib.get_close_matches(tag, known, n=1)
            hint = f"did you mean {near[0].upper()}?" if near else "check its spelling"
            yield f"parameters: {tag.upper()} is not an INCAR tag: {hint}"


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


def _velocities(node: orm.ArrayData, structure: orm.StructureData) -> Iterator[str]:
    shape = node.get_array("velocities").shape if "velocities" in node.get_arraynames() else None
    expected = (len(structure.sites), 3)
    if shape != expected:
        yield f"velocities: array 'velocities' has shape {shape}, expected {expected} in Angstrom/fs"


def tag_faults(tags: Mapping) -> str | None:
    """Whether `tags` are fields of a frame that a run may set."""
    allowed = ("run", "source", "label", "pathway", "requested_sites", "temperature")
    for key in tags:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            return f"unknown tag {key!r}: {f'did you mean {near[0]!r}?' if near else ', '.join(allowed)}"
    return None
