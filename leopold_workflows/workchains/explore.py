"""`ExploreWorkChain` (`leopold.explore`): where the carrier goes according to the newest model."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain

from leopold_model.config import MDConfig, parse
from leopold_workflows.calculations.functions import choose_start_frames
from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.calculations.job import species_message
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.data.track import TrackData
from leopold_workflows.protocols import material as load_material
from leopold_workflows.protocols import protocol as load_protocol
from leopold_workflows.settings import HopSettings, checked_by
from leopold_workflows.vasp.doping import start_faults
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.md import MDBaseWorkChain

UNSTABLE = (504, 507, 510)  # a guard of the dynamics stopped some replicas; what they did before is data
TOO_UNSTABLE = 510


class ExploreWorkChain(WorkChain):
    """Learned dynamics at temperatures x seeds, and the committed hops in it, by symmetry-inequivalent
    pathway.

    Replicas that a guard stopped count up to their last good block. Only when less than `min_fraction` of the
    asked time was observed does the WorkChain end with 510, with what little there is as outputs. No hop at all is a
    valid catalogue.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(
            MDBaseWorkChain, namespace="dynamics", exclude=("md.model", "md.start", "md.seed", "clean_workdir")
        )
        spec.input("model", valid_type=ModelData, help="The model that moves the atoms.")
        spec.input("frames", valid_type=FrameSetData, help="Frames with carrier sites, some of which are the starts.")
        spec.input("host", valid_type=orm.StructureData, help="The perfect crystal, in the orientation of the frames.")
        spec.input("hops", valid_type=orm.Dict, validator=checked_by(HopSettings, "hops"), help="See HopSettings.")
        spec.input("seed", valid_type=orm.Int, help="Of the choice of starts, of velocities and of the thermostat.")
        spec.input("run", valid_type=orm.Str, default=lambda: orm.Str("explore-01"), help="Name of this exploration.")
        spec.input(
            "min_fraction", valid_type=orm.Float, default=lambda: orm.Float(0.2), help="Least part of the time asked."
        )
        spec.inputs.validator = validate_inputs
        spec.outline(
            cls.run_dynamics,
            cls.inspect_dynamics,
            cls.find_hops,
            cls.judge,
        )
        spec.output("track", valid_type=TrackData, required=False, help="Carrier sites of every step, hop windows.")
        spec.output("results", valid_type=orm.Dict, required=False, help="`result.json` of the dynamics.")
        spec.output("remote_folder", valid_type=orm.RemoteData, required=False, help="Where the trajectory lies.")
        spec.output("catalogue", valid_type=PathwaySetData, required=False, help="Hops of this exploration by pathway.")
        spec.exit_code(403, "ERROR_SUB_PROCESS_MD", message="the dynamics failed with exit status {status}")
        spec.exit_code(
            TOO_UNSTABLE,
            "ERROR_MD_UNSTABLE",
            message="guards stopped the dynamics after {fraction:.1%} of the time asked: {why}",
        )
        spec.exit_code(312, "ERROR_HOPS_UNREADABLE", message="no hops could be read from the track: {why}")

    @classmethod
    def get_builder_from_protocol(cls, code, model, frames, host, *, material, protocol=None, overrides=None, seed=0):
        """A builder for the hops `model` shows in a `material`; `overrides` as in the protocol `explore`."""
        builder = cls.get_builder()
        settings = load_protocol("explore", protocol, overrides)
        for name, value in explore_inputs(settings, load_material(material), code).items():
            builder[name] = value
        builder.model, builder.frames, builder.host, builder.seed = model, frames, host, orm.Int(seed)
        return builder

    def run_dynamics(self):
        """Submit the dynamics, its starts chosen from the frames."""
        inputs = AttributeDict(self.exposed_inputs(MDBaseWorkChain, "dynamics"))
        config = parse(inputs.md.parameters.get_dict(), MDConfig)
        n = orm.Int(config.replicas * len(config.temperatures))
        inputs.md.start = choose_start_frames(self.inputs.frames, n, self.inputs.seed)
        inputs.md.model, inputs.md.seed = self.inputs.model, self.inputs.seed
        production = [config.total_steps(k) - config.equilibration for k in range(n.value)]
        self.ctx.asked = sum(production) * config.timestep
        return ToContext(dynamics=self.submit(MDBaseWorkChain, **inputs))

    def inspect_dynamics(self):
        """Keep the track, whole or not."""
        node = self.ctx.dynamics
        if (not node.is_finished_ok and node.exit_status not in UNSTABLE) or "track" not in node.outputs:
            return self.exit_codes.ERROR_SUB_PROCESS_MD.format(status=node.exit_status)
        self.out("track", node.outputs.track)
        self.out("results", node.outputs.results)
        self.out("remote_folder", node.outputs.remote_folder)
        return None

    def find_hops(self):
        """Hops and their pathways."""
        catalogue, node = catalogue_of.run_get_node(
            self.outputs["track"], self.inputs.host, self.inputs.hops, self.inputs.run
        )
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_HOPS_UNREADABLE.format(why=reason(node))
        self.out("catalogue", catalogue)
        self.report(catalogue.catalogue["summary"])
        return None

    def judge(self):
        """Whether enough was observed."""
        node = self.ctx.dynamics
        fraction = node.outputs.track.base.attributes.get("duration") / self.ctx.asked
        if fraction == 0.0 or fraction < self.inputs.min_fraction.value:
            return self.exit_codes.ERROR_MD_UNSTABLE.format(fraction=fraction, why=reason(node))
        if not node.is_finished_ok:
            self.report(f"{reason(node)} {fraction:.0%} of the time asked was observed; going on with that")
        return None


def explore_inputs(settings: dict, recipe: dict, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on model or frames, from its protocol's `settings` and a
    material."""
    parameters = dict(settings["parameters"])
    parameters["temperatures"] = [float(t) for t in parameters["temperatures"] or recipe["temperatures"]]
    if recipe["fixed"]:
        parameters.setdefault("fixed", recipe["fixed"])
    hops = {"species": recipe["carrier"]["species"][0], "cutoff": recipe["pathway_cutoff"]}
    return {
        "dynamics": {
            "md": {"code": code, "parameters": orm.Dict(parameters), "metadata": {"options": settings["options"]}},
            "max_iterations": orm.Int(settings["max_iterations"]),
            "on_unhandled_failure": orm.Str(settings["on_unhandled_failure"]),
        },
        "hops": orm.Dict(hops | settings["hops"]),
        "min_fraction": orm.Float(settings["min_fraction"]),
    }


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "host" in inputs and "hops" in inputs:
        species, present = inputs["hops"]["species"], inputs["host"].get_symbols_set()
        if species not in present:
            return f"hops: species = {species!r} is not in the host: choose one of {', '.join(sorted(present))}"
        moments, n_atoms = inputs["hops"].get("host_moments"), len(inputs["host"].sites)
        if moments is not None and len(moments) != n_atoms:
            return (
                f"hops: host_moments has {len(moments)} numbers for the {n_atoms} atoms of the host: give one for each"
            )
    if "model" in inputs and "frames" in inputs:
        if inputs["frames"].base.attributes.get("n_carriers") == 0:
            return "frames: no carrier_sites: dynamics must know where the carrier begins"
        sites = (inputs["host"], inputs["hops"]["species"]) if {"host", "hops"} <= set(inputs) else ()
        message = start_faults(inputs["frames"], *sites)
        if message:
            return f"frames: {message}"
        return species_message(inputs["model"], inputs["frames"])
    return None
