"""`LabelWorkChain` (`leopold.label`): one frame to VASP and back, with the carrier where it was asked to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_

from leopold_model.frames import FrameError
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.template import Template
from leopold_workflows.calculations.functions_vasp import (
    find_frame,
    judge_label,
    label_request,
    structure_of,
    verified_steps,
)
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter, verdict
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.vasp.validation import impose_faults, study_faults


class LabelWorkChain(WorkChain):
    """Impose the carrier on the frame's `carrier_sites`, release it, and see whether it stayed.

    The occupations imposed are those of the carrier in `template`, turned onto the requested sites by the symmetry of
    the host; where it leaves several orientations, the one that fits the frame's distortion. Sites that are not
    equivalent to the template's, and all of them without a template, get nominal occupations.

    A static run with the occupation matrix imposed makes a WAVECAR with the carrier on the requested sites;
    its energy and forces are biased and never used. A second run starts from that WAVECAR without any occupation tag:
    a single point, or a relaxation of `relaxation_steps`. Only when its last step converged, the carrier is localised,
    sits on the requested sites and in the orbital that was imposed there does the frame become `frames` (of a
    relaxation, every step of which the same can be said); otherwise what was reached is `reached`, with a typed exit
    code. Matrices that single out no orbital ask for none.

    A single point that spent NELM before it converged is gone on with once, from its own orbitals and with ALGO = All,
    the steadiest for a localised level; it is judged like any other.

    A VASP without the occupation-matrix patch is served by `localisation` 'moment': MAGMOM seeds the carrier and the
    released run is the only one. The frame's own distortion, which the model made around the carrier, does the rest.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        adapter.expose(spec)
        verdict.expose(spec)
        spec.input("frames", valid_type=FrameSetData, help="Frames, of which one is labelled here.")
        spec.input("frame", valid_type=orm.Str, help="Id of that frame; its `carrier_sites` are the request.")
        spec.input("carrier", valid_type=orm.Dict, help="As in leopold.vasp.")
        spec.input("incar", valid_type=orm.Dict, required=False, help="INCAR tags of the static runs.")
        spec.input(
            "localisation",
            valid_type=orm.Str,
            default=lambda: orm.Str("omc"),
            validator=_localisation,
            help="How the carrier is put on its sites: 'omc' (occupations imposed; patched VASP) or 'moment' (MAGMOM).",
        )
        spec.input(
            "template",
            valid_type=orm.Dict,
            required=False,
            validator=check_template,
            help="Occupations of a released carrier, the output of a seed, imposed on equivalent sites; others, and "
            "all without it, get nominal ones.",
        )
        spec.input(
            "relaxation_steps",
            valid_type=orm.Int,
            default=lambda: orm.Int(0),
            validator=_not_negative,
            help="Ionic steps of the released run at most; 0: a single point.",
        )
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            if_(cls.imposes_occupations)(
                cls.run_constrained,
                cls.inspect_constrained,
            ),
            cls.run_released,
            if_(cls.needs_more_iterations)(
                cls.run_further,
            ),
            cls.inspect_released,
        )
        spec.output("frames", valid_type=FrameSetData, required=False, help="The verified frame, or relaxation steps.")
        spec.output("reached", valid_type=FrameSetData, required=False, help="What was reached when it was missed.")
        spec.output("verdict", valid_type=orm.Dict, required=False, help="The outcome and the numbers behind it.")
        spec.exit_code(
            320,
            "ERROR_OCCUPATIONS_NOT_IMPOSED",
            message="OUTCAR does not list the imposed occupations: this VASP lacks the occupation-matrix patch and "
            "ignored them; use a patched one, or localisation 'moment'",
        )
        spec.exit_code(
            403, "ERROR_SUB_PROCESS_CONSTRAINED", message="the constrained run failed with exit status {status}"
        )
        spec.exit_code(404, "ERROR_SUB_PROCESS_RELEASED", message="the released run failed with exit status {status}")
        spec.exit_code(504, "ERROR_LABEL_NOT_CONVERGED", message="the released run did not reach EDIFF within NELM")
        spec.exit_code(
            506,
            "ERROR_WRONG_ORBITAL",
            message="the carrier is on the sites asked for, but in another orbital: the one imposed has "
            "{orbital_share:.2f} of the moment that the largest has",
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, frames, frame, *, material, protocol=None, overrides=None, potential_family=None, options=None
    ):
        """A builder for the frame with id `frame`, at the same level of theory as the seed of that protocol."""
        structure = orm.StructureData(ase=find_frame(frames, frame).to_atoms())
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in label_inputs(shared).items():
            builder[name] = value
        builder.frames, builder.frame = frames, orm.Str(frame)
        return builder

    def setup(self):
        """Take the structure and the request out of the frames."""
        frame = find_frame(self.inputs.frames, self.inputs.frame.value)
        self.ctx.sites = list(frame.carrier_sites)
        self.ctx.run = frame.run or "label"
        self.ctx.tags = {
            "source": "label",
            "label": self.inputs.frame.value,
            "pathway": frame.pathway,
            "requested_sites": self.ctx.sites,
        }
        if np.isfinite(frame.temperature):
            self.ctx.tags["temperature"] = frame.temperature
        if not self.imposes_occupations():
            self.ctx.structure = structure_of(self.inputs.frames, self.inputs.frame)

    def imposes_occupations(self):
        """Whether a constrained run comes before the released one."""
        return self.inputs.localisation.value == "omc"

    def run_constrained(self):
        """Submit the static run with the occupations of the requested sites imposed."""
        given = {"template": self.inputs.template} if "template" in self.inputs else {}
        request = label_request(
            self.inputs.frames, self.inputs.frame, self.inputs.carrier, self.inputs.vasp.hubbard, **given
        )
        self.ctx.structure, self.ctx.occmatrix = request["structure"], request["occmatrix"]
        self.ctx.orbitals = request["orbitals"]
        self.report(f"imposed occupations: {self.ctx.occmatrix.description}")
        inputs = self._inputs(occmatrix=self.ctx.occmatrix)
        return ToContext(constrained=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_constrained(self):
        """Its electronic convergence does not matter, only that it left orbitals."""
        node = self.ctx.constrained
        if node.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status:
            return self.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED
        unconverged = LeopoldVaspCalculation.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED.status
        if not node.is_finished_ok and node.exit_status != unconverged:
            return self.exit_codes.ERROR_SUB_PROCESS_CONSTRAINED.format(status=node.exit_status)
        return None

    def run_released(self):
        """Submit the run free of constraints, from the orbitals of the constrained one if there was one."""
        given = {"restart_folder": self.ctx.constrained.outputs.remote_folder} if "constrained" in self.ctx else {}
        inputs = self._inputs(self.inputs.relaxation_steps.value, **given)
        return ToContext(released=self.submit(LeopoldVaspCalculation, **inputs))

    def needs_more_iterations(self):
        """Whether the released run is a single point that spent NELM before it converged."""
        unconverged = LeopoldVaspCalculation.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED.status
        return self.ctx.released.exit_status == unconverged and not self.inputs.relaxation_steps.value

    def run_further(self):
        """Submit it again from the orbitals it left, with another algorithm."""
        node = self.ctx.released
        self.report(f"{node.process_label}<{node.pk}> did not converge: going on from its orbitals with ALGO = All")
        inputs = self._inputs(restart_folder=node.outputs.remote_folder, algo="All")
        return ToContext(released=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_released(self):
        """Judge where the carrier sits and end with the outcome."""
        node, codes = self.ctx.released, LeopoldVaspCalculation.exit_codes
        unconverged = (codes.ERROR_ELECTRONIC_NOT_CONVERGED.status, codes.ERROR_IONIC_NOT_CONVERGED.status)
        if "frames" not in node.outputs or node.exit_status not in (0, *unconverged):
            return self.exit_codes.ERROR_SUB_PROCESS_RELEASED.format(status=node.exit_status)
        frames, judged_by = node.outputs.frames, (self.inputs.carrier, self.inputs.max_participation)
        asked = {"orbitals": self.ctx.orbitals} if "constrained" in self.ctx else {}
        printed = {"occupations": node.outputs.occupations} if "occupations" in node.outputs else {}
        found = judge_label(frames, *judged_by, **asked, **printed)
        self.out("verdict", found)
        if found["outcome"] == "verified":
            self.out("frames", verified_steps(frames, *judged_by) if self.inputs.relaxation_steps.value else frames)
            return None
        self.out("reached", frames)
        return self.exit_codes(verdict.MISSES[found["outcome"]]).format(**found.get_dict())

    def _inputs(self, relaxation_steps: int = 0, algo: str = "", **specific) -> AttributeDict:
        incar = self.inputs.incar.get_dict() if "incar" in self.inputs else {}
        if relaxation_steps:
            incar = {**incar, "nsw": relaxation_steps}
        if algo:
            incar = {**incar, "algo": algo}
        return adapter.job_inputs(
            AttributeDict(self.inputs.vasp), self.ctx.structure, self.inputs.carrier,
            stage="relax" if relaxation_steps else "static",
            run=self.ctx.run, sites=self.ctx.sites, tags=self.ctx.tags, incar=incar, **specific,
        )  # fmt: skip


def label_inputs(shared: Study) -> dict:
    """Inputs of this WorkChain that do not depend on the frame."""
    inputs = shared.protocol("label")
    return {
        "vasp": shared.vasp,
        "carrier": shared.carrier,
        "incar": orm.Dict(inputs["incar"]),
        "localisation": orm.Str(inputs["localisation"]),
        "relaxation_steps": orm.Int(inputs["relaxation_steps"]),
        "max_participation": orm.Float(inputs["max_participation"]),
    }


def label_faults(inputs, structure: orm.StructureData, sites: Sequence[int] | None = None) -> str | None:
    """What is wrong with `inputs` of this WorkChain for frames like `structure`, the carriers on `sites` if known."""
    incar = inputs["incar"].get_dict() if "incar" in inputs else {}
    stage = "relax" if inputs["relaxation_steps"].value else "static"
    message = study_faults(inputs["vasp"], structure, inputs["carrier"], incar, stage, "incar")
    if message or sites is None:
        return message
    wanted = inputs["carrier"]["n"]
    if len(sites) != wanted:
        return f"{len(sites)} carrier_sites but {wanted} carriers; set carrier_sites of the frame"
    if inputs["localisation"].value == "moment":
        return None
    return impose_faults(inputs["vasp"], structure, inputs["carrier"], sites)


def label_settings(inputs, structure: orm.StructureData) -> str:
    """Hash of the level of theory of the labels that `inputs` of this WorkChain will make; after `label_faults`."""
    incar = inputs["incar"].get_dict() if "incar" in inputs else {}
    return adapter.stage_settings(inputs["vasp"], structure, inputs["carrier"], "static", incar)


def _localisation(node, _) -> str | None:
    if node is None or node.value in ("omc", "moment"):
        return None
    return f"localisation = {node.value!r}: choose 'omc' (needs a patched VASP) or 'moment'; a frame keeps its geometry"


def _not_negative(node, _) -> str | None:
    return f"{node.value}: give 0 for a single point, or a number of ionic steps" if node and node.value < 0 else None


def check_template(node, _) -> str | None:
    """Why this is no template of occupation matrices; None if it is."""
    if node is not None:
        try:
            Template.from_dict(node.get_dict())
        except VaspError as error:
            return str(error)
    return None


def _validate(inputs, _) -> str | None:
    if "frames" not in inputs or "frame" not in inputs:
        return None  # exposed elsewhere without them
    try:
        frame = find_frame(inputs["frames"], inputs["frame"].value)
    except FrameError as error:
        return str(error)
    message = label_faults(inputs, orm.StructureData(ase=frame.to_atoms()), frame.carrier_sites)
    return f"frame {frame.id}: {message}" if message else None
