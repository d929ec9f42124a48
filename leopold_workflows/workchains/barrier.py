"""`BarrierWorkChain` (`leopold.barrier`): one hop on the learned surface beside the reference."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_

from leopold_model.analysis import AnalysisError
from leopold_model.barrier_frames import BRANCHES
from leopold_workflows.calculations.barrier import (
    BarrierCalculation,
    check_images,
    check_sites,
    hop_faults,
    same_atoms,
)
from leopold_workflows.calculations.functions import merge_frames
from leopold_workflows.calculations.functions_barrier import (
    barrier_of,
    hop_of_class,
    line_of_hop,
    other_end,
    sites_of_pathway,
    turned,
)
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.label import label_faults
from leopold_workflows.workchains.label_frames import LabelFramesWorkChain, label_frames_inputs
from leopold_workflows.workchains.localise import LocaliseWorkChain, localise_faults, localise_inputs

# labels that were missed are answers too: a carrier told i that goes to j is on the surface of j
ANSWERED = (0, 411, 412)


class BarrierWorkChain(WorkChain):
    """Energies and moments along the hop between two `sites` (or of a `pathway`), by a model and by VASP.

    The carrier is put at rest on the first site by VASP, as a seed does; the other end is that structure turned by the
    symmetry of the host, or a second relaxation where no operation takes one site to the other. Between them a straight
    line: at each of its `images` VASP is asked with the carrier imposed on either site and released (`branches`:
    'nearest' asks on the nearer one only), and the model is told the same. The model also gives the minimum-energy path
    between what the ends relax to on its own surface.

    `barrier` has both: energies, moments on both sites, the verdict adiabatic or diabatic, and the largest deviation.
    It is output even where one half failed, with what the other found.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("model", valid_type=ModelData, help="The model, of one carrier.")
        spec.input("host", valid_type=orm.StructureData, help="Perfect supercell, sites sorted by kind.")
        spec.input(
            "sites",
            valid_type=orm.List,
            required=False,
            validator=check_sites,
            help="The two atoms of it, from 0.",
        )
        spec.input(
            "pathway",
            valid_type=orm.Str,
            required=False,
            help="Instead of `sites`: a class as the catalogue names it, like `O-O 2.96 A <110> x12`.",
        )
        spec.input(
            "cutoff",
            valid_type=orm.Float,
            default=lambda: orm.Float(7.0),
            help="Angstrom, longest `pathway`.",
        )
        spec.input(
            "initial", valid_type=orm.StructureData, required=False, help="At rest with the carrier on the first site."
        )
        spec.input("final", valid_type=orm.StructureData, required=False, help="With `initial`: on the second site.")
        spec.input(
            "images", valid_type=orm.Int, default=lambda: orm.Int(9), validator=check_images, help="Of each path."
        )
        spec.input(
            "branches",
            valid_type=orm.Str,
            default=lambda: orm.Str("both"),
            validator=_branches,
            help="'both': every image with the carrier imposed on either site; 'nearest': on the nearer one.",
        )
        spec.expose_inputs(
            LocaliseWorkChain, namespace="localise", exclude=("structure", "sites"),
            namespace_options={"required": False, "populate_defaults": False},
        )  # fmt: skip
        spec.expose_inputs(LabelFramesWorkChain, namespace="label", exclude=("frames",))
        spec.expose_inputs(
            BarrierCalculation, namespace="learned", exclude=("model", "initial", "final", "sites", "images")
        )
        spec.inputs.validator = validate_inputs
        spec.outline(
            cls.setup,
            if_(cls.needs_initial)(
                cls.run_initial,
                cls.inspect_initial,
            ),
            if_(cls.needs_final)(
                cls.run_final,
                cls.inspect_final,
            ),
            cls.run_paths,
            cls.inspect_paths,
            cls.results,
        )
        spec.output("barrier", valid_type=orm.Dict, required=False, help="Both surfaces along the hop, see above.")
        spec.output("initial", valid_type=orm.StructureData, required=False, help="Where the line begins.")
        spec.output("final", valid_type=orm.StructureData, required=False, help="Where it ends.")
        spec.output("path", valid_type=FrameSetData, required=False, help="Its frames as VASP was asked.")
        spec.output("labels", valid_type=FrameSetData, required=False, help="What VASP answered, verified or not.")
        spec.output("outcomes", valid_type=orm.Dict, required=False, help="As of leopold.label.frames.")
        spec.exit_code(
            403,
            "ERROR_SUB_PROCESS_LOCALISE",
            message="no structure at rest with the carrier on atom {site}, exit status {status}: {why}",
        )
        spec.exit_code(404, "ERROR_SUB_PROCESS_LABEL", message="the reference along the hop: {why}")
        spec.exit_code(405, "ERROR_SUB_PROCESS_BARRIER", message="the model, exit status {status}: {why}")
        spec.exit_code(604, "ERROR_PATH_NOT_CONVERGED", message="the minimum-energy path of the model: {why}")

    @classmethod
    def get_builder_from_protocol(
        cls, code_vasp, code_leopold, model, *, material, sites=None, pathway=None, structure=None, protocol=None,
        overrides=None, potential_family=None, options=None,
    ):  # fmt: skip
        """A builder for the hop between `sites`, or of the class `pathway`, of a `material`.

        `overrides` has one mapping per protocol name ('barrier', 'seed', 'label', 'vasp') and one for 'material'.
        """
        shared = study(
            code_vasp, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in barrier_inputs(shared, code_leopold).items():
            builder[name] = value
        builder.model = model
        if sites is not None:
            builder.sites = orm.List(list(sites))
        if pathway is not None:
            builder.pathway = orm.Str(pathway)
        return builder

    def setup(self):
        """Settle between which atoms, and take the ends that are given."""
        if "sites" in self.inputs:
            self.ctx.sites = self.inputs.sites
        else:
            self.ctx.sites = sites_of_pathway(self.inputs.host, self._carrier, self.inputs.pathway, self.inputs.cutoff)
        self.ctx.initial, self.ctx.final = self.inputs.get("initial"), self.inputs.get("final")
        self.ctx.template = self.inputs.label.get("template")

    def needs_initial(self):
        """Whether the first end is not given."""
        return self.ctx.initial is None

    def run_initial(self):
        """Put the carrier at rest on the first site."""
        return ToContext(initial_run=self._localised(0))

    def inspect_initial(self):
        """Take the structure, and the occupations to impose along the hop."""
        node = self.ctx.initial_run
        if not node.is_finished_ok:
            return self._not_at_rest(0, node)
        self.ctx.initial = node.outputs.structure
        if self.ctx.template is None and "template" in node.outputs:
            self.ctx.template = node.outputs.template
        return None

    def needs_final(self):
        """Whether the second end is neither given nor the first turned by symmetry."""
        if self.ctx.final is not None:
            return False
        if turned(self.inputs.host.get_ase(), self.ctx.initial.get_ase(), self.ctx.sites.get_list()) is None:
            return True
        self.ctx.final = other_end(self.ctx.initial, self.inputs.host, self.ctx.sites)
        return False

    def run_final(self):
        """Put the carrier at rest on the second site."""
        return ToContext(final_run=self._localised(1))

    def inspect_final(self):
        """Take the structure."""
        node = self.ctx.final_run
        if not node.is_finished_ok:
            return self._not_at_rest(1, node)
        self.ctx.final = node.outputs.structure
        return None

    def run_paths(self):
        """The line to VASP, and to the model at the same time."""
        self.out("initial", self.ctx.initial)
        self.out("final", self.ctx.final)
        path = line_of_hop(
            self.ctx.initial, self.ctx.final, self.inputs.host, self._carrier, self.ctx.sites, self.inputs.images,
            self.inputs.branches,
        )  # fmt: skip
        self.out("path", path)
        labels = AttributeDict(self.exposed_inputs(LabelFramesWorkChain, "label"))
        labels.frames = path
        if self.ctx.template is not None:
            labels.template = self.ctx.template
        learned = AttributeDict(self.exposed_inputs(BarrierCalculation, "learned"))
        learned.update(
            model=self.inputs.model, initial=self.ctx.initial, final=self.ctx.final, sites=self.ctx.sites,
            images=self.inputs.images,
        )  # fmt: skip
        return ToContext(
            labels=self.submit(LabelFramesWorkChain, **labels), learned=self.submit(BarrierCalculation, **learned)
        )

    def inspect_paths(self):
        """Put side by side what there is."""
        labels, learned = self.ctx.labels, self.ctx.learned
        found = {"model": learned.outputs.results} if learned.is_finished_ok else {}
        if labels.exit_status in ANSWERED and "rejected" in labels.outputs:
            found |= {"verified": labels.outputs.frames, "rejected": labels.outputs.rejected}
            self.out("labels", merge_frames(verified=labels.outputs.frames, rejected=labels.outputs.rejected))
            self.out("outcomes", labels.outputs.outcomes)
        self.out(
            "barrier",
            barrier_of(self.outputs["path"], self.inputs.host, self._carrier, self.ctx.sites, **found),
        )

    def results(self):
        """End with what is missing."""
        barrier, learned, labels = self.outputs["barrier"].get_dict(), self.ctx.learned, self.ctx.labels
        if barrier["reference"] is None:
            why = barrier["reference_missing"] if labels.exit_status in ANSWERED else reason(labels)
            return self.exit_codes.ERROR_SUB_PROCESS_LABEL.format(why=why)
        if not learned.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_BARRIER.format(status=learned.exit_status, why=reason(learned))
        verdicts = f"{barrier['verdict']} by the model, {barrier['reference']['verdict']} by the reference"
        energy = barrier["deviation"]["energy_meV"]
        self.report(f"{verdicts}; energies differ by at most {energy['largest']:.1f} meV")
        if barrier["barrier_neb_eV"] is None:
            neb = barrier["neb"]
            why = barrier["neb_missing"] if neb is None else (
                f"largest force {neb['largest_force_eV_per_Angstrom']:.3g} eV/Angstrom after {neb['steps']} steps"
            )  # fmt: skip
            return self.exit_codes.ERROR_PATH_NOT_CONVERGED.format(why=why)
        return None

    @property
    def _carrier(self) -> orm.Dict:
        return self.inputs.label.carrier

    def _localised(self, which: int):
        inputs = AttributeDict(self.exposed_inputs(LocaliseWorkChain, "localise"))
        inputs.structure, inputs.sites = self.inputs.host, orm.List([self.ctx.sites[which]])
        return self.submit(LocaliseWorkChain, **inputs)

    def _not_at_rest(self, which: int, node):
        return self.exit_codes.ERROR_SUB_PROCESS_LOCALISE.format(
            site=self.ctx.sites[which], status=node.exit_status, why=reason(node)
        )


def barrier_inputs(shared: Study, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on the model or the hop."""
    inputs = shared.protocol("barrier")
    return {
        "host": shared.structure,
        "cutoff": orm.Float(shared.material["pathway_cutoff"]),
        "images": orm.Int(inputs["images"]),
        "branches": orm.Str(inputs["branches"]),
        "localise": {k: v for k, v in localise_inputs(shared).items() if k not in ("structure", "sites")},
        "label": label_frames_inputs(shared),
        "learned": {
            "code": code,
            "fmax": orm.Float(inputs["fmax"]),
            "steps": orm.Int(inputs["steps"]),
            "metadata": {"options": inputs["options"]},
        },
    }


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    host, carrier = inputs["host"], inputs["label"]["carrier"]
    if ("sites" in inputs) == ("pathway" in inputs):
        return "give either `sites`, the two atoms of the hop, or `pathway`, the name of its class"
    if carrier["n"] != 1:
        return f"label.carrier: n = {carrier['n']}; the barrier of a hop is that of one carrier"
    if inputs["label"]["relaxation_steps"].value:
        steps = inputs["label"]["relaxation_steps"].value
        return f"label.relaxation_steps = {steps}: the images of a path keep their geometry; give 0"
    if message := label_faults(inputs["label"], host):
        return "\n".join(f"label: {line}" for line in message.splitlines())
    if "sites" in inputs:
        sites = inputs["sites"].get_list()
    else:
        try:
            species = carrier["species"][0]
            sites = list(hop_of_class(host.get_ase(), species, inputs["pathway"].value, inputs["cutoff"].value))
        except AnalysisError as error:
            return str(error)
    if message := hop_faults(host, sites, inputs["model"]):
        return message
    kind = inputs["model"].header.get("carrier", carrier["kind"])
    if kind != carrier["kind"]:
        return f"model of a {kind}, but label.carrier is a {carrier['kind']}: give a model of the same carrier"
    if "final" in inputs and "initial" not in inputs:
        return "final without initial: give both ends, or `initial` alone"
    for name in ("initial", "final"):
        if name in inputs and (message := same_atoms(name, inputs[name], host)):
            return message
    if "final" in inputs:
        return None
    if "localise" not in inputs:
        return "neither `final` nor `localise`: give both ends, or the inputs of a localisation that makes them"
    if inputs["localise"]["carrier"].get_dict() != carrier.get_dict():
        return "localise.carrier and label.carrier differ: give the same carrier to both"
    faults = (localise_faults(inputs["localise"], host, [site]) for site in sites)
    message = next(filter(None, faults), None)
    return None if message is None else "\n".join(f"localise: {line}" for line in message.splitlines())


def _branches(node: orm.Str | None, _=None) -> str | None:
    if node is None or node.value in BRANCHES:
        return None
    return f"branches = {node.value!r}: choose 'both' or 'nearest'"
