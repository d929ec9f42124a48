"""`PolaronDynamicsWorkChain` (`leopold.dynamics`): the whole study, from a crystal to a mobility."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_

from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.vasp import adapter, doping
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.label import check_template, label_faults, label_settings
from leopold_workflows.workchains.learn import LearnWorkChain, learn_inputs, mixed_frames
from leopold_workflows.workchains.seed import SeedWorkChain, seed_faults, seed_inputs
from leopold_workflows.workchains.seed_configurations import OWN, SeedConfigurationsWorkChain, configurations_faults
from leopold_workflows.workchains.transport import TransportWorkChain, transport_inputs

# inputs of the study that replace the output of a stage
FROM_SEED = ("frames", "test", "starts")


class PolaronDynamicsWorkChain(WorkChain):
    """Seed -> learn -> transport.

    The seed is one run from the host, or one from each of `configurations`, which a search or a person chose.

    A stage whose result is given is left out: with `frames` (of an earlier study, or imported) there is no seed, with
    `model` and `catalogue` (and `frames` to start from) no learning. Learning that ended unconverged (6xx) has
    valid outputs: transport follows all the same, and the exit code of learning becomes that of the study.

    Frames and labels of different levels of theory are refused at launch, before either is paid for.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("host", valid_type=orm.StructureData, help="The perfect crystal, as the supercell of the study.")
        spec.input("frames", valid_type=FrameSetData, required=False, help="Labelled frames, instead of a seed.")
        spec.input(
            "configurations",
            valid_type=FrameSetData,
            required=False,
            help="Structures with `carrier_sites`, each of which is seeded (leopold.seed.configurations).",
        )
        spec.input("test", valid_type=FrameSetData, required=False, help="A held-out run to go with `frames`.")
        spec.input("starts", valid_type=FrameSetData, required=False, help="Starts of dynamics to go with `frames`.")
        spec.input(
            "template",
            valid_type=orm.Dict,
            required=False,
            validator=check_template,
            help="Occupations of a released carrier to go with `frames`, imposed where frames are labelled.",
        )
        spec.input("model", valid_type=ModelData, required=False, help="Model to begin with.")
        spec.input(
            "catalogue",
            valid_type=PathwaySetData,
            required=False,
            help="With `model`: its verified pathways, instead of learning.",
        )
        spec.expose_inputs(SeedWorkChain, namespace="seed", exclude=("structure",), namespace_options=_optional())
        spec.expose_inputs(
            LearnWorkChain,
            namespace="learn",
            namespace_options=_optional(),
            exclude=("frames", "test", "starts", "label.template", "host", "model", "catalogue"),
        )
        spec.expose_inputs(
            TransportWorkChain,
            namespace="transport",
            exclude=("frames", "host", "model", "known"),
            namespace_options=_optional(),
        )
        spec.inputs.validator = validate_inputs
        spec.outline(
            cls.setup,
            if_(cls.needs_seed)(
                cls.run_seed,
                cls.inspect_seed,
            ),
            if_(cls.needs_learning)(
                cls.run_learning,
                cls.inspect_learning,
            ),
            if_(cls.wants_transport)(
                cls.run_transport,
                cls.inspect_transport,
            ),
            cls.results,
        )
        spec.expose_outputs(SeedWorkChain, namespace="seed", namespace_options={"required": False})
        spec.expose_outputs(SeedConfigurationsWorkChain, namespace="seed", include=("verdicts",))
        spec.expose_outputs(LearnWorkChain)
        spec.output("transport", valid_type=orm.Dict, required=False, help="Rates, diffusion, mobility, Arrhenius.")
        spec.expose_outputs(
            TransportWorkChain, namespace="production", exclude=("transport",), namespace_options={"required": False}
        )
        spec.exit_code(403, "ERROR_SUB_PROCESS_SEED", message="the seed failed with exit status {status}: {why}")
        spec.exit_code(404, "ERROR_SUB_PROCESS_LEARN", message="learning failed with exit status {status}: {why}")
        spec.exit_code(405, "ERROR_SUB_PROCESS_TRANSPORT", message="transport failed with exit status {status}: {why}")
        spec.exit_code(601, "ERROR_PATHWAYS_NOT_CONVERGED", message="learning: {why}")
        spec.exit_code(602, "ERROR_TOO_FEW_HOPS", message="{stage}: {why}")
        spec.exit_code(603, "ERROR_BUDGET_EXHAUSTED", message="learning: {why}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        code_vasp,
        code_leopold,
        *,
        material,
        protocol="fast",
        overrides=None,
        structure=None,
        potential_family=None,
        options=None,
        frames=None,
        configurations=None,
    ):
        """A builder for the whole study of a `material`; without a seed where `frames` are given.

        The seed is one run from each of `configurations`; of a material with a `defect` these are, where they are not
        given, inequivalent arrangements of the carriers around it, `arrangements` of the protocol `seed`.

        `overrides` has one mapping per protocol name ('seed', 'fpmd', 'label', 'train', 'explore', 'learn',
        'transport', 'vasp') and one for 'material'; `structure` replaces the material's supercell; `options`
        are the scheduler options of the VASP jobs (those of the others stand in their protocols).
        """
        from leopold_workflows.vasp.study import elements_of, study

        shared = study(
            code_vasp,
            material_name=material,
            structure=structure,
            level=protocol,
            overrides=overrides,
            potential_family=potential_family,
            options=options,
            also=elements_of(frames, configurations),
        )
        builder = cls.get_builder()
        builder.host = shared.structure
        if frames is None:
            builder.seed = {name: value for name, value in seed_inputs(shared).items() if name != "structure"}
            configurations = configurations or shared.arrangements
        else:
            builder.frames = frames
        if configurations is not None:
            builder.configurations = configurations
        builder.learn = learn_inputs(shared, code_leopold)
        builder.transport = transport_inputs(shared.protocol("transport"), shared.material, code_leopold)
        return builder

    def setup(self):
        """Begin with what is given."""
        for name in (*FROM_SEED, "template", "model", "catalogue"):
            self.ctx[name] = self.inputs.get(name)
        self.ctx.learning_exit = 0

    def needs_seed(self):
        """Whether there are no frames yet."""
        return self.ctx.frames is None

    def run_seed(self):
        """Localise the carrier and run first-principles dynamics."""
        inputs = AttributeDict(self.exposed_inputs(SeedWorkChain, "seed"))
        inputs.metadata = {"call_link_label": "seed"}
        if "configurations" not in self.inputs:
            inputs.structure = self.inputs.host
            return ToContext(seed=self.submit(SeedWorkChain, **inputs))
        for name in OWN:
            inputs.pop(name, None)
        inputs.configurations = self.inputs.configurations
        return ToContext(seed=self.submit(SeedConfigurationsWorkChain, **inputs))

    def inspect_seed(self):
        """Take its frames, and the held-out run as test."""
        node = self.ctx.seed
        self.out_many(self.exposed_outputs(node, SeedWorkChain, "seed"))
        self.out_many(self.exposed_outputs(node, SeedConfigurationsWorkChain, "seed"))
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_SEED.format(status=node.exit_status, why=reason(node))
        outputs = node.outputs
        self.ctx.frames, self.ctx.test, self.ctx.starts = outputs.frames, outputs.validation, outputs.starts
        if "template" in outputs and self.ctx.template is None:
            self.ctx.template = outputs.template
        return None

    def needs_learning(self):
        """Whether model and catalogue are not both given."""
        return "learn" in self.inputs and (self.ctx.model is None or self.ctx.catalogue is None)

    def run_learning(self):
        """Train, explore, label, until nothing new appears."""
        inputs = AttributeDict(self.exposed_inputs(LearnWorkChain, "learn"))
        inputs.host = self.inputs.host
        for name in (*FROM_SEED, "model", "catalogue"):
            if self.ctx[name] is not None:
                inputs[name] = self.ctx[name]
        if self.ctx.template is not None:
            inputs.label.template = self.ctx.template
        inputs.metadata = {"call_link_label": "learn"}
        return ToContext(learning=self.submit(LearnWorkChain, **inputs))

    def inspect_learning(self):
        """Take what was learned; unconverged is not failed."""
        node = self.ctx.learning
        self.out_many(self.exposed_outputs(node, LearnWorkChain))
        if not node.is_finished_ok and node.exit_status < 600:
            return self.exit_codes.ERROR_SUB_PROCESS_LEARN.format(status=node.exit_status, why=reason(node))
        self.ctx.learning_exit = node.exit_status
        self.ctx.model, self.ctx.catalogue = node.outputs.model, node.outputs.catalogue
        return None

    def wants_transport(self):
        """Whether inputs for production are given."""
        return "transport" in self.inputs

    def run_transport(self):
        """Production dynamics with the model."""
        inputs = AttributeDict(self.exposed_inputs(TransportWorkChain, "transport"))
        inputs.model, inputs.host = self.ctx.model, self.inputs.host
        inputs.frames = self.ctx.starts if self.ctx.starts is not None else self.ctx.frames
        if self.ctx.catalogue is not None:
            inputs.known = self.ctx.catalogue
        inputs.metadata = {"call_link_label": "transport"}
        return ToContext(production=self.submit(TransportWorkChain, **inputs))

    def inspect_transport(self):
        """Take rates and mobility."""
        node = self.ctx.production
        self.out_many(self.exposed_outputs(node, TransportWorkChain, "production"))
        if "transport" in node.outputs:
            self.out("transport", node.outputs.transport)
        if node.exit_status == 602 and not self.ctx.learning_exit:
            return self.exit_codes.ERROR_TOO_FEW_HOPS.format(stage="transport", why=reason(node))
        if not node.is_finished_ok and node.exit_status != 602:
            return self.exit_codes.ERROR_SUB_PROCESS_TRANSPORT.format(status=node.exit_status, why=reason(node))
        return None

    def results(self):
        """End with what learning ended with."""
        status = self.ctx.learning_exit
        if not status:
            return None
        name = {
            601: "ERROR_PATHWAYS_NOT_CONVERGED",
            602: "ERROR_TOO_FEW_HOPS",
            603: "ERROR_BUDGET_EXHAUSTED",
        }[status]
        return getattr(self.exit_codes, name).format(stage="learning", why=reason(self.ctx.learning))


def _optional() -> dict:
    """A namespace that may be left out whole; a new mapping each time, for exposing ports empties it."""
    return {"required": False, "populate_defaults": False}


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "frames" not in inputs and "seed" not in inputs:
        return "neither `frames` nor `seed`: give labelled frames, or the inputs of a seed that makes them"
    learned = "model" in inputs and "catalogue" in inputs
    if "learn" not in inputs and not learned:
        return "neither `learn` nor `model` with `catalogue`: give the inputs of learning, or what it made"
    if "model" in inputs and "frames" not in inputs:
        return "model without frames: dynamics starts from frames with carrier sites; give `frames` too"
    # the stages have their own validators, but these are silent where the crystal is not yet among their inputs
    if "frames" not in inputs:
        message = _seed_faults(inputs)
        if message:
            return message
    if "learn" in inputs and not learned:
        message = label_faults(inputs["learn"]["label"], inputs["host"])
        if message:
            return _prefixed("learn.label", message)
        return _mixed_settings(inputs)
    return None


def _seed_faults(inputs) -> str | None:
    if "configurations" not in inputs:
        message = seed_faults(inputs["seed"], inputs["host"])
        return _prefixed("seed", message) if message else None
    given = inputs["configurations"]
    message = doping.arrangement_faults(given, inputs["host"], inputs["seed"]["carrier"])
    if not message and "learn" in inputs:
        message = doping.start_faults(given)
    if message:
        return f"configurations: {message}"
    return configurations_faults({**inputs["seed"], "configurations": inputs["configurations"]})


def _mixed_settings(inputs) -> str | None:
    """Why the labels of learning could not join the frames it begins with; None if they can."""
    label, host = inputs["learn"]["label"], inputs["host"]
    message = mixed_frames(label, host, {name: inputs[name] for name in ("frames", "test") if name in inputs})
    if message or "frames" in inputs:
        return message
    if "configurations" in inputs:
        host = orm.StructureData(ase=inputs["configurations"].get_frames()[0].to_atoms())
        message = label_faults(label, host)
        if message:
            return _prefixed("learn.label", message)
    seed, wanted = inputs["seed"], label_settings(label, host)
    made = adapter.stage_settings(seed["vasp"], host, seed["carrier"], "md", seed["dynamics_incar"].get_dict())
    if made != wanted:
        return (
            f"seed and learn.label: levels of theory differ (settings {made} and {wanted}); give both the same U, "
            "POTCARs, k-points and precision: of the protocols, INCAR tags in `vasp` and U in `material`"
        )
    return None


def _prefixed(namespace: str, message: str) -> str:
    """Every line with the namespace its input stands in."""
    return "\n".join(f"{namespace}: {line}" for line in message.splitlines())
