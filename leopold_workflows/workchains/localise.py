"""`LocaliseWorkChain` (`leopold.localise`): one carrier at rest on the site it was asked for."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_

from leopold_workflows.calculations.functions_vasp import carrier_template, judge_last
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter, localisation, verdict
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.vasp.validation import study_faults


class LocaliseWorkChain(WorkChain):
    """Localise the carrier on `sites`, release it, verify that it stayed.

    `localisation` chooses how the carrier is put there (see `leopold_workflows.vasp.localisation`): occupations imposed
    by a patched VASP, or without the patch by distorted bonds, by MAGMOM alone, or by an impurity that is put back.
    Whichever it was, a relaxation free of constraints decides by the moments of its last step, never by energy: a
    carrier that spread, went elsewhere, or left other spins in the cell ends the WorkChain with 501, 502 or 505. In
    which orbital it is does not matter here: the occupations found become the `template` of labels.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        adapter.expose(spec)
        verdict.expose(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Host supercell, sites sorted by kind.")
        spec.input("carrier", valid_type=orm.Dict, help="As in leopold.vasp.")
        spec.input("sites", valid_type=orm.List, help="Atoms to put the carriers on.")
        localisation.expose(spec)
        spec.input("relaxation_incar", valid_type=orm.Dict, help="INCAR tags of both relaxations, NSW among them.")
        spec.inputs.validator = _validate
        spec.outline(*cls.steps())
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The relaxed polaron.")
        spec.output("relaxation", valid_type=FrameSetData, required=False, help="Steps of the released relaxation.")
        spec.output("verdict", valid_type=orm.Dict, required=False, help="Where the released carrier sits.")
        spec.output(
            "template",
            valid_type=orm.Dict,
            required=False,
            help="The released carrier's occupations and the host's symmetry: to be imposed where frames are labelled.",
        )
        spec.exit_code(
            320,
            "ERROR_OCCUPATIONS_NOT_IMPOSED",
            message="OUTCAR does not list the imposed occupations: this VASP lacks the occupation-matrix patch and "
            "ignored them; use a patched one, or localisation 'distortion', 'substitution' or 'moment'",
        )
        spec.exit_code(
            403,
            "ERROR_SUB_PROCESS_LOCALISATION",
            message="the relaxation before the release failed with exit status {status}",
        )
        spec.exit_code(
            404, "ERROR_SUB_PROCESS_RELEASE", message="the released relaxation failed with exit status {status}"
        )
        spec.exit_code(504, "ERROR_RELEASE_NOT_CONVERGED", message="the last step of the release did not reach EDIFF")
        spec.exit_code(
            505,
            "ERROR_OTHER_SPIN",
            message="released, the cell has a moment of {cell_moment:.2f} mu_B, not that of its carriers alone",
        )

    @classmethod
    def steps(cls):
        """The outline; other WorkChains go on from there."""
        return (
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

    def prepares_release(self):
        """Whether a relaxation comes before the free one: with imposed occupations or with an impurity."""
        return self._strategy.prepares

    def run_localisation(self):
        """Submit it."""
        inputs = self._relaxation("localisation", **self._strategy.preparation(self.inputs))
        return ToContext(localisation=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_localisation(self):
        """It need not have converged: only structure and orbitals are gone on from."""
        node = self.ctx.localisation
        if node.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status:
            return self.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED
        if not _usable(node):
            return self.exit_codes.ERROR_SUB_PROCESS_LOCALISATION.format(status=node.exit_status)
        return None

    def run_release(self):
        """Submit the relaxation without constraints."""
        prepared = self.ctx.localisation.outputs if self._strategy.prepares else {}
        inputs = self._relaxation("release", **self._strategy.release(self.inputs, prepared))
        return ToContext(release=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_release(self):
        """Verify that the carrier is where it was asked to be."""
        node = self.ctx.release
        if not _usable(node):
            return self.exit_codes.ERROR_SUB_PROCESS_RELEASE.format(status=node.exit_status)
        found = judge_last(
            node.outputs.frames, node.outputs.carrier, self.inputs.structure, self.inputs.sites, self.inputs.carrier,
            self.inputs.max_participation,
        )  # fmt: skip
        self.out("relaxation", node.outputs.frames)
        self.out("structure", node.outputs.structure)
        self.out("verdict", found)
        miss = verdict.MISSES.get(found["outcome"])
        if miss:
            return self.exit_codes(miss).format(**found.get_dict())
        if "occupations" in node.outputs:
            template = carrier_template(node.outputs.occupations, node.outputs.frames, self.inputs.structure)
            if isinstance(template, orm.Dict):  # without a symmetry of the host there is none
                self.out("template", template)
        return None

    @property
    def _strategy(self) -> type[localisation.Strategy]:
        return localisation.STRATEGIES[self.inputs.localisation.value]

    def _relaxation(self, run: str, *, structure, sites, carrier=None, source="relaxation", **given) -> AttributeDict:
        return adapter.job_inputs(
            AttributeDict(self.inputs.vasp), structure, carrier or self.inputs.carrier, stage="relax", run=run,
            sites=sites, incar=self.inputs.relaxation_incar.get_dict(), tags={"source": source}, **given,
        )  # fmt: skip


def localise_inputs(shared: Study) -> dict:
    """Inputs of this WorkChain from the protocol `seed`; an impurity also needs its potential and U in `vasp`."""
    seed = shared.protocol("seed")
    inputs = {
        "vasp": shared.vasp,
        "structure": shared.structure,
        "carrier": shared.carrier,
        "sites": orm.List(seed["sites"] or shared.sites),
        "relaxation_incar": orm.Dict({"nsw": seed["relaxation_steps"], **seed["incar"]}),
        "max_participation": orm.Float(seed["max_participation"]),
        "localisation": orm.Str(seed["localisation"]),
        "distortion": orm.Float(seed["distortion"]),
        "rattle": orm.Float(seed["rattle"]),
        "rattle_seed": orm.Int(seed["first_seed"]),
    }
    impurity = shared.material["substitute"]
    if seed["localisation"] == "substitution" and impurity:
        inputs |= {"substitute": orm.Str(impurity), "vasp": shared.vasp_with(impurity)}
    return inputs


def _usable(node) -> bool:
    """A relaxation whose last complete step can be gone on from, though NSW or NELM ran out."""
    codes = LeopoldVaspCalculation.exit_codes
    accepted = {0, codes.ERROR_IONIC_NOT_CONVERGED.status, codes.ERROR_ELECTRONIC_NOT_CONVERGED.status}
    return node.exit_status in accepted and "structure" in node.outputs


def localise_faults(inputs, structure: orm.StructureData, sites: list[int]) -> str | None:
    """What is wrong with `inputs` for a carrier on `sites` of `structure`; None if nothing."""
    carrier = inputs["carrier"]
    message = study_faults(
        inputs["vasp"], structure, carrier, inputs["relaxation_incar"].get_dict(), "relax", "relaxation_incar"
    )
    if message:
        return message
    if len(sites) != carrier["n"]:
        return f"sites: {sites} for {carrier['n']} carriers; give one site per carrier"
    if len(set(sites)) < len(sites):
        return f"sites: {sites} names an atom twice; give one site per carrier"
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
