"""`LocaliseWorkChain` (`leopold.localise`): one carrier at rest on the site it was asked for."""

from __future__ import annotations

from aiida import orm
from aiida.engine import if_

from leopold_workflows.vasp import localisation
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.vasp.validation import study_faults
from leopold_workflows.workchains.seed import SeedWorkChain, seed_inputs

DYNAMICS = (
    "temperatures", "seeds", "validation_temperature", "validation_seed", "steps", "segment_steps", "stride",
    "dynamics_incar", "quorum", "prefix",
)  # fmt: skip


class LocaliseWorkChain(SeedWorkChain):
    """The first half of a seed: localise the carrier on `sites`, release it, verify that it stayed. No dynamics."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        for name in DYNAMICS:
            del spec.inputs[name]
        for name in ("frames", "validation", "starts", "remote_folders"):
            del spec.outputs[name]
        spec.exit_codes.pop("ERROR_SUB_PROCESS_DYNAMICS")
        spec.inputs.validator = _validate
        spec.outline(
            if_(cls.prepares_release)(
                cls.run_localisation,
                cls.inspect_localisation,
            ),
            cls.run_release,
            cls.inspect_release,
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, *, material, sites=None, structure=None, protocol=None, overrides=None, potential_family=None,
        options=None,
    ):  # fmt: skip
        """A builder with what the protocol `seed` says of localisation, on `sites` (default: the first eligible)."""
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in localise_inputs(shared).items():
            builder[name] = value
        if sites is not None:
            builder.sites = orm.List(list(sites))
        return builder


def localise_inputs(shared: Study) -> dict:
    """Inputs of this WorkChain: those of a seed without its dynamics."""
    return {name: value for name, value in seed_inputs(shared).items() if name not in DYNAMICS}


def localise_faults(inputs, structure: orm.StructureData, sites: list[int]) -> str | None:
    """What is wrong with `inputs` for a carrier on `sites` of `structure`; None if nothing."""
    carrier = inputs["carrier"]
    message = study_faults(
        inputs["vasp"], structure, carrier, inputs["relaxation_incar"].get_dict(), "relax", "relaxation_incar"
    )
    if message:
        return message
    if len(sites) != carrier["n"] or len(set(sites)) < len(sites):
        return f"sites: {sites} for {carrier['n']} carriers; give one site per carrier, no two the same"
    for site in sites:
        if not isinstance(site, int) or not 0 <= site < len(structure.sites):
            return f"sites: {site} but the structure has atoms 0 to {len(structure.sites) - 1}"
        if structure.sites[site].kind_name not in carrier["species"]:
            return f"sites: atom {site} is {structure.sites[site].kind_name}; choose one of {carrier['species']}"
    return localisation.faults({**inputs, "sites": orm.List(sites)}, structure)


def _validate(inputs, _) -> str | None:
    if "structure" not in inputs or "sites" not in inputs:
        return None  # exposed elsewhere without them
    return localise_faults(inputs, inputs["structure"], inputs["sites"].get_list())
