"""`TransportWorkChain` (`leopold.transport`): from a model to rates, diffusion and mobility."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, while_

from leopold_model.config import MDConfig, parse
from leopold_workflows.calculations.functions import updated
from leopold_workflows.calculations.functions_transport import prolonged, transport_of
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.protocols import material as load_material
from leopold_workflows.protocols import protocol as load_protocol
from leopold_workflows.settings import TransportSettings, checked_by
from leopold_workflows.workchains import explore
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.explore import ExploreWorkChain, explore_inputs


class TransportWorkChain(WorkChain):
    """Production dynamics at several temperatures until there are enough hops, and what follows from them.

    Hops are counted, not nanoseconds: the first instalment has the `steps` asked for; temperatures that show
    fewer than `min_hops` committed hops then go on, each as far as its hops so far say it needs, until
    `max_steps` per replica. An instalment is an exploration that continues the same trajectories from the
    checkpoint of the one before, so its track holds them from the beginning.

    Then rates per pathway with exact Poisson intervals, diffusion and mobility tensors with intervals, their
    correlation factor, and an Arrhenius fit from two temperatures on. With fewer than `min_hops` hops at some
    temperature, or none at all, the result is attached and the exit code is 602.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(ExploreWorkChain)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=checked_by(TransportSettings, "settings"),
            help="See TransportSettings.",
        )
        spec.input(
            "known",
            valid_type=PathwaySetData,
            required=False,
            help="Catalogue of learning: classes seen here without a verified label in it are named in the result.",
        )
        spec.inputs.validator = validate_inputs
        spec.outline(
            cls.setup,
            while_(cls.needs_more_hops)(
                cls.run_instalment,
                cls.inspect_instalment,
            ),
            cls.results,
        )
        spec.expose_outputs(ExploreWorkChain)
        spec.output(
            "transport",
            valid_type=orm.Dict,
            required=False,
            help="Per temperature rates, diffusion, mobility with intervals; Arrhenius parameters.",
        )
        spec.exit_code(
            403,
            "ERROR_SUB_PROCESS_EXPLORE",
            message="instalment {number} failed with exit status {status}: {why}; the outputs are those before it",
        )
        spec.exit_code(313, "ERROR_TRANSPORT_UNREADABLE", message="no transport coefficients: {why}")
        spec.exit_code(
            602,
            "ERROR_TOO_FEW_HOPS",
            message="{counts} in {steps} steps per replica, {least} wanted at each: raise `settings.max_steps` or the "
            "number of replicas{hotter}",
        )

    @classmethod
    def get_builder_from_protocol(cls, code, model, frames, host, *, material, protocol=None, overrides=None):
        """A builder for production with `model`; `overrides` as in the protocol `transport`."""
        builder = cls.get_builder()
        settings = load_protocol("transport", protocol, overrides)
        for name, value in transport_inputs(settings, load_material(material), code).items():
            builder[name] = value
        builder.model, builder.frames, builder.host = model, frames, host
        return builder

    def setup(self):
        """Begin with the steps asked for."""
        self.ctx.instalments = 0
        self.ctx.enough = False
        self.ctx.parameters = self.inputs.dynamics.md.parameters
        self.ctx.restart_folder = self.inputs.dynamics.md.get("restart_folder")
        if _may_go_on(self.inputs):
            self.ctx.parameters = updated(self.ctx.parameters, orm.Dict({"keep_checkpoint": True}))

    def needs_more_hops(self):
        """Whether some temperature lacks hops and may still go on."""
        return not self.ctx.enough

    def run_instalment(self):
        """Begin the dynamics, or go on with it."""
        self.ctx.instalments += 1
        inputs = AttributeDict(self.exposed_inputs(ExploreWorkChain))
        inputs.dynamics.md.parameters = self.ctx.parameters
        if self.ctx.restart_folder is not None:
            inputs.dynamics.md.restart_folder = self.ctx.restart_folder
        inputs.metadata = {"call_link_label": f"instalment_{self.ctx.instalments:02d}"}
        return ToContext(instalment=self.submit(ExploreWorkChain, **inputs))

    def inspect_instalment(self):
        """Count its hops; decide how much further each temperature has to go."""
        node = self.ctx.instalment
        if not node.is_finished_ok:
            if "exploration" in self.ctx:
                self.results()
            else:
                self.out_many(self.exposed_outputs(node, ExploreWorkChain))
            return self.exit_codes.ERROR_SUB_PROCESS_EXPLORE.format(
                number=self.ctx.instalments, status=node.exit_status, why=reason(node)
            )
        self.ctx.exploration = node
        self.ctx.restart_folder = node.outputs.remote_folder
        self.ctx.enough = True
        if _may_go_on(self.inputs):
            longer = prolonged(self.ctx.parameters, node.outputs.catalogue, self.inputs.settings)
            self.ctx.enough = longer.get_dict() == self.ctx.parameters.get_dict()
            self.ctx.parameters = longer
        self.report(f"instalment {self.ctx.instalments}: {node.outputs.catalogue.catalogue['summary']}")
        return None

    def results(self):
        """Rates, diffusion, mobility; whether they rest on enough hops."""
        outputs = self.ctx.exploration.outputs
        self.out_many(self.exposed_outputs(self.ctx.exploration, ExploreWorkChain))
        known = {"known": self.inputs.known} if "known" in self.inputs else {}
        transport, node = transport_of.run_get_node(outputs.catalogue, self.inputs.settings, self.inputs.seed, **known)
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_TRANSPORT_UNREADABLE.format(why=reason(node))
        self.out("transport", transport)
        if transport["unverified_pathways"]:
            self.report(f"seen in production without a verified label: {', '.join(transport['unverified_pathways'])}")
        counts = {row["temperature_K"]: row["n_hops"] for row in transport["temperatures"]}
        least = self.inputs.settings["min_hops"]
        if min(counts.values()) >= least:
            return None
        config = parse(self.ctx.parameters.get_dict(), MDConfig)
        return self.exit_codes.ERROR_TOO_FEW_HOPS.format(
            counts=", ".join(f"{n} hops at {t:g} K" for t, n in counts.items()),
            steps=config.steps + max(config.more_steps, default=0),
            least=least,
            hotter="" if all(counts.values()) else "; where there was no hop at all, the temperature",
        )


def transport_inputs(settings: dict, recipe: dict, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on model or frames, from its protocol's `settings` and a
    material."""
    return {
        **explore_inputs(settings, recipe, code),
        "settings": orm.Dict(
            {key: recipe[key] if key in ("rows", "planes") else settings[key] for key in TransportSettings.model_fields}
        ),
        "seed": orm.Int(settings["seed"]),
        "run": orm.Str("production"),
    }


def _may_go_on(inputs) -> bool:
    """Whether the budget leaves room for a second instalment."""
    steps = parse(inputs["dynamics"]["md"]["parameters"].get_dict(), MDConfig).steps
    return steps < parse(inputs["settings"].get_dict(), TransportSettings).max_steps


def validate_inputs(inputs, port) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    message = explore.validate_inputs(inputs, port)
    if message or "settings" not in inputs or "parameters" not in inputs.get("dynamics", {}).get("md", {}):
        return message
    if not _may_go_on(inputs):
        return None
    config = parse(inputs["dynamics"]["md"]["parameters"].get_dict(), MDConfig)
    if (config.equilibration + config.steps) % config.block or config.steps % config.block:
        return (
            f"dynamics.md.parameters: equilibration = {config.equilibration}, steps = {config.steps}: to be gone on "
            f"with in instalments both must be multiples of block = {config.block}; or set settings.max_steps = "
            f"{config.steps}"
        )
    return None
