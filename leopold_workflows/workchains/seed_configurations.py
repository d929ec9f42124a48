"""`SeedConfigurationsWorkChain` (`leopold.seed.configurations`): the first data from several arrangements at once."""

from __future__ import annotations

from collections.abc import Mapping

from aiida import orm
from aiida.engine import WorkChain, while_

from leopold_workflows.calculations.functions import merge_frames
from leopold_workflows.calculations.functions_vasp import structure_of
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.study import elements_of, study
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.seed import SeedWorkChain, seed_faults, seed_inputs

# inputs of a seed that every configuration brings itself
OWN = ("structure", "sites", "prefix")


class SeedConfigurationsWorkChain(WorkChain):
    """A `SeedWorkChain` for every frame of `configurations`: its structure, with the carriers on its `carrier_sites`.

    Where defects and carriers can be arranged in many ways, one start shows the network one of them. The
    configurations, of a search or chosen by hand, need no labels. Their runs are called `<configuration>-<run>`, the
    configuration by its `run`, or by its number. Those whose carrier did not stay, or whose dynamics failed, are left
    out if `configuration_quorum` of all succeed.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(SeedWorkChain, exclude=OWN)
        spec.input("configurations", valid_type=FrameSetData, help="Structures with `carrier_sites`; labels unneeded.")
        spec.input("max_concurrent", valid_type=orm.Int, default=lambda: orm.Int(4), help="Seeds at a time.")
        spec.input(
            "configuration_quorum",
            valid_type=orm.Float,
            default=lambda: orm.Float(0.5),
            help="Least fraction of seeds.",
        )
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            while_(cls.configurations_remain)(
                cls.run_seeds,
                cls.inspect_seeds,
            ),
            cls.results,
        )
        spec.output("frames", valid_type=FrameSetData, required=False, help="Training frames of all configurations.")
        spec.output("validation", valid_type=FrameSetData, required=False, help="Their held-out runs.")
        spec.output("starts", valid_type=FrameSetData, required=False, help="Where the training runs ended.")
        spec.output("template", valid_type=orm.Dict, required=False, help="That of the first configuration with one.")
        spec.output_namespace("verdicts", valid_type=orm.Dict, help="Where each released carrier sits.")
        spec.exit_code(
            403,
            "ERROR_SUB_PROCESS_SEED",
            message="{done} of {total} configurations succeeded; first failure: {why}; what they gave is output",
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, configurations, *, material, protocol=None, overrides=None, potential_family=None, options=None
    ):
        """A builder that seeds each of `configurations` as the protocol `seed` says; their dopants need a POTCAR and a
        formal charge in the material."""
        frames = configurations.get_frames()
        if not frames:
            raise ValueError("configurations: no frame: give structures with carrier_sites")
        shared = study(
            code, material_name=material, structure=orm.StructureData(ase=frames[0].to_atoms()), level=protocol,
            overrides=overrides, potential_family=potential_family, options=options,
            also=elements_of(configurations),
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in seed_inputs(shared).items():
            if name not in OWN:
                builder[name] = value
        builder.configurations = configurations
        return builder

    def setup(self):
        """Name the configurations."""
        frames = self.inputs.configurations.get_frames()
        self.ctx.waiting = [f"configuration_{k:03d}" for k in range(1, len(frames) + 1)]
        self.ctx.names = {
            key: _name(frame.run, k) for k, (key, frame) in enumerate(zip(self.ctx.waiting, frames, strict=True), 1)
        }
        self.ctx.ids = {key: frame.id for key, frame in zip(self.ctx.waiting, frames, strict=True)}
        self.ctx.running, self.ctx.done, self.ctx.why = [], [], ""

    def configurations_remain(self):
        """Whether any was not begun."""
        return bool(self.ctx.waiting)

    def run_seeds(self):
        """Submit the next few."""
        n = self.inputs.max_concurrent.value
        self.ctx.running, self.ctx.waiting = self.ctx.waiting[:n], self.ctx.waiting[n:]
        frames = {frame.id: frame for frame in self.inputs.configurations.get_frames()}
        shared = self.exposed_inputs(SeedWorkChain)
        for key in self.ctx.running:
            frame = frames[self.ctx.ids[key]]
            seed = self.submit(
                SeedWorkChain,
                structure=structure_of(self.inputs.configurations, orm.Str(frame.id)),
                sites=orm.List(list(frame.carrier_sites)),
                prefix=orm.Str(f"{self.ctx.names[key]}-"),
                **shared,
            )
            self.to_context(**{key: seed})

    def inspect_seeds(self):
        """Note those that ended well."""
        for key in self.ctx.running:
            seed = self.ctx[key]
            if seed.is_finished_ok:
                self.ctx.done.append(key)
            else:
                self.ctx.why = self.ctx.why or f"{self.ctx.names[key]}, {reason(seed)}"
                self.report(f"{self.ctx.names[key]}: SeedWorkChain<{seed.pk}> failed: {reason(seed)}")

    def results(self):
        """Put together what the seeds gave, also those whose quorum was missed."""
        seeds = {key: self.ctx[key] for key in sorted(self.ctx.ids)}
        for port in ("frames", "validation", "starts"):
            parts = {key: seed.outputs[port] for key, seed in seeds.items() if port in seed.outputs}
            if parts:
                self.out(port, merge_frames(**parts))
        templates = [seeds[key].outputs.template for key in self.ctx.done if "template" in seeds[key].outputs]
        if templates:
            self.out("template", templates[0])
        self.out("verdicts", {key: seed.outputs.verdict for key, seed in seeds.items() if "verdict" in seed.outputs})
        done, total = len(self.ctx.done), len(seeds)
        if not done or done < self.inputs.configuration_quorum.value * total:
            return self.exit_codes.ERROR_SUB_PROCESS_SEED.format(done=done, total=total, why=self.ctx.why)
        return None


def _name(run: str, number: int) -> str:
    return run or f"configuration-{number}"


def configurations_faults(inputs: Mapping) -> str | None:
    """What is wrong with `inputs` of this WorkChain; None if nothing."""
    frames = inputs["configurations"].get_frames()
    if not frames:
        return "configurations: no frame: give structures with carrier_sites"
    names = [_name(frame.run, k) for k, frame in enumerate(frames, 1)]
    for k, frame in enumerate(frames, 1):
        if names.count(names[k - 1]) > 1:
            return f"configurations: two are called {names[k - 1]!r}; give every frame a `run` of its own, or none any"
        own = {**inputs, "sites": orm.List(list(frame.carrier_sites))}
        message = seed_faults(own, orm.StructureData(ase=frame.to_atoms()))
        if message:
            return f"configurations: {names[k - 1]}: {message}"
    return None


def _validate(inputs, _) -> str | None:
    if "configurations" not in inputs or "carrier" not in inputs:
        return None  # exposed elsewhere without them
    return configurations_faults(inputs)
