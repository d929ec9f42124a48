"""What a study of patterns would run, told before anything is submitted: VASP's input files for one of its
configurations, jobs and node-hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from aiida import orm

from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.structures import to_structure
from leopold_workflows.calculations.functions_patterns import carrier_of, composition_of, nodes_of, read_lattice
from leopold_workflows.preview import Work, incar_of, kpoints_of, potcars_of, share_of, table
from leopold_workflows.vasp import adapter


def preview(inputs: Mapping, step_seconds: float | None = None) -> str:
    """The text for a PatternsWorkChain with these `inputs`; with `step_seconds`, what VASP needs for one ionic step,
    the node-hours that follow. Tags by site are those of a random configuration, drawn with the seed of the study."""
    learn = inputs["learn"]
    label = learn["label"]
    instance, supercell = read_lattice(learn["lattice"]), learn["supercell"].value
    composition = composition_of(instance, supercell, learn["counts"].get_dict())
    cell = instance.supercell(supercell)
    drawn = random_configuration(cell, composition, np.random.default_rng(learn["seed"].value))
    wanted = to_structure(cell, drawn)
    structure, sites = nodes_of(wanted)["structure"], sorted(wanted.carrier_sites)
    carrier = carrier_of(wanted, label["carrier"].get_dict(), label["orbitals"].get_dict())
    parts = [
        *_incars(label, structure, carrier, sites),
        kpoints_of(label["vasp"]["kpoints"]),
        potcars_of(label["vasp"], structure),
        table(list(_work(inputs)), step_seconds),
    ]
    return "\n\n".join(parts)


def _incars(label: Mapping, structure: orm.StructureData, carrier: dict, sites: list[int]) -> Iterator[str]:
    vasp, changes = label["vasp"], label["relaxation_incar"].get_dict()
    without = orm.Dict(carrier | {"delocalised": True})
    tags = adapter.incar_tags(vasp, structure, without, "delocalised", changes)
    yield incar_of("pattern of defects, relaxation without spin", tags, "delocalised")
    if label["localisation"].value == "omc":
        tags = adapter.incar_tags(vasp, structure, orm.Dict(carrier), "relax", changes, sites, imposed=True)
        yield incar_of("label, relaxation with imposed occupations", tags, "omc")
    tags = adapter.incar_tags(vasp, structure, orm.Dict(carrier), "relax", changes, sites)
    yield incar_of("label, relaxation", tags, "relax")


def _work(inputs: Mapping) -> Iterator[Work]:
    """Every kind of job, the most that learning and the surface may ask for."""
    learn, surface = inputs["learn"], inputs["surface"]
    label, settings = learn["label"], learn["settings"].get_dict()
    vasp, steps = share_of(label["vasp"].get("options")), label["relaxation_incar"].get_dict().get("nsw", 0)
    labels, rounds = settings["max_labels"], settings["max_rounds"]
    yield Work("patterns without spin", labels, *vasp, labels * steps)
    released = labels * (2 if label["localisation"].value == "omc" else 1)
    yield Work(f"labels ({labels})", released, *vasp, released * steps)
    # each treatment for the ranking and for the area
    anneals = 2 * len(surface["settings"]["treatments"]) + len(surface["settings"]["sweep"])
    for name, jobs, job in (
        ("training", rounds, learn["train"]["training"]),
        ("search", rounds, learn["suggest"]["search"]),
        ("annealing", anneals, surface["annealing"]["anneal"]),
    ):
        yield Work(name, jobs, *share_of(job["metadata"]["options"]))
