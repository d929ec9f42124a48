"""`SeedWorkChain` (`leopold.seed`): the first data: a localised carrier and the dynamics it begins."""

from __future__ import annotations

from aiida import orm

from leopold_workflows.calculations.functions_vasp import initial_velocities, start_frames, thin_runs
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.vasp.validation import study_faults
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.fpmd import FPMDWorkChain
from leopold_workflows.workchains.localise import LocaliseWorkChain, localise_faults, localise_inputs

VALIDATION = "validation"


class SeedWorkChain(LocaliseWorkChain):
    """Localise the carrier on `sites`, release it, verify that it stayed, then first-principles dynamics in parallel.

    Dynamics runs at every temperature with every seed, and once more at `validation_temperature` with a seed
    of its own: that run is held out, its frames are `validation`. Velocities are drawn at twice the
    temperature because the runs start at the minimum, where potential energy takes half of it. Runs that fail
    are left out if `quorum` of them remain and the held-out one is among those.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("temperatures", valid_type=orm.List, help="K, of the training runs.")
        spec.input("seeds", valid_type=orm.List, help="One run per seed at each temperature.")
        spec.input("validation_temperature", valid_type=orm.Float, help="K, of the held-out run.")
        spec.input("validation_seed", valid_type=orm.Int, help="Seed of the held-out run, none of `seeds`.")
        spec.input("steps", valid_type=orm.Int, help="Ionic steps of every run.")
        spec.input("segment_steps", valid_type=orm.Int, help="Ionic steps of one job at most.")
        spec.input("stride", valid_type=orm.Int, default=lambda: orm.Int(1), help="Keep every n-th step.")
        spec.input("dynamics_incar", valid_type=orm.Dict, help="INCAR tags of dynamics, POTIM among them.")
        spec.input("quorum", valid_type=orm.Float, default=lambda: orm.Float(0.8), help="Least fraction of runs.")
        spec.input(
            "prefix",
            valid_type=orm.Str,
            default=lambda: orm.Str(""),
            help="Of the names that the runs of dynamics have on their frames.",
        )
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            *cls.steps(),
            cls.run_dynamics,
            cls.inspect_dynamics,
            cls.results,
        )
        spec.output("frames", valid_type=FrameSetData, required=False, help="Converged frames of the training runs.")
        spec.output("validation", valid_type=FrameSetData, required=False, help="Converged frames of the held-out run.")
        spec.output("starts", valid_type=FrameSetData, required=False, help="Where the runs ended, with velocities.")
        spec.output_namespace("remote_folders", valid_type=orm.RemoteData, help="Last folder of every run.")
        spec.exit_code(
            405,
            "ERROR_SUB_PROCESS_DYNAMICS",
            message="{done} of {total} runs of dynamics succeeded, the held-out one {validation}; these are output",
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, *, material, structure=None, protocol=None, overrides=None, potential_family=None, options=None
    ):
        """A builder with the inputs of protocols `vasp`, `fpmd` and `seed` for a `material` ('mgo', 'tio2')."""
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in seed_inputs(shared).items():
            builder[name] = value
        return builder

    def setup(self):
        """Name the runs of dynamics: (temperature, seed) each."""
        runs = [(t, s) for t in self.inputs.temperatures.get_list() for s in self.inputs.seeds.get_list()]
        self.ctx.runs = {f"fpmd_{t:g}K_{s}".replace(".", "p").replace("-", "m"): [t, s] for t, s in runs}
        self.ctx.runs[VALIDATION] = [self.inputs.validation_temperature.value, self.inputs.validation_seed.value]

    def run_dynamics(self):
        """Submit every run of dynamics at once."""
        release = self.ctx.release.outputs
        for name, (temperature, seed) in self.ctx.runs.items():
            velocities = initial_velocities(release.structure, orm.Float(2 * temperature), orm.Int(seed))
            run = self.submit(
                FPMDWorkChain,
                vasp=self.inputs.vasp,
                structure=release.structure,
                carrier=self.inputs.carrier,
                sites=self.inputs.sites,
                velocities=velocities,
                temperature=orm.Float(temperature),
                steps=self.inputs.steps,
                segment_steps=self.inputs.segment_steps,
                seed=orm.Int(seed),
                run=orm.Str(self.inputs.prefix.value + name),
                incar=self.inputs.dynamics_incar,
                restart_folder=release.remote_folder,
                monitor=orm.Dict({"max_participation": self.inputs.max_participation.value}),
            )
            self.to_context(**{name: run})

    def inspect_dynamics(self):
        """Count the runs that are whole."""
        self.ctx.done = [name for name in self.ctx.runs if self.ctx[name].is_finished_ok]
        for name in set(self.ctx.runs) - set(self.ctx.done):
            self.report(f"run {name} failed: FPMDWorkChain<{self.ctx[name].pk}>: {reason(self.ctx[name])}")

    def results(self):
        """Thin the runs and set the held-out one apart."""
        done = {name: self.ctx[name].outputs for name in self.ctx.done}
        training = {name: run.frames for name, run in done.items() if name != VALIDATION}
        if training:
            self.out("frames", thin_runs(stride=self.inputs.stride, moves=orm.Bool(True), **training))
            ends = {
                f"{port}_{name}": run[port]
                for name, run in done.items()
                if name != VALIDATION
                for port in ("frames", "structure", "velocities")
            }
            self.out("starts", start_frames(**ends))
        if VALIDATION in done:
            self.out(
                "validation",
                thin_runs(stride=self.inputs.stride, moves=orm.Bool(False), validation=done[VALIDATION].frames),
            )
        self.out("remote_folders", {name: run.remote_folder for name, run in done.items()})
        if len(done) < self.inputs.quorum.value * len(self.ctx.runs) or VALIDATION not in done or not training:
            return self.exit_codes.ERROR_SUB_PROCESS_DYNAMICS.format(
                done=len(done), total=len(self.ctx.runs), validation="among them" if VALIDATION in done else "not"
            )
        return None


def seed_inputs(shared: Study) -> dict:
    """Inputs of this WorkChain from the protocols `seed` and `fpmd`."""
    seed, fpmd = shared.protocol("seed"), shared.protocol("fpmd")
    temperatures = seed["temperatures"] or shared.material["temperatures"]
    first = seed["first_seed"]
    return {
        **localise_inputs(shared),
        "temperatures": orm.List([float(t) for t in temperatures]),
        "seeds": orm.List(list(range(first, first + seed["runs_per_temperature"]))),
        "validation_temperature": orm.Float(seed["validation_temperature"] or max(temperatures)),
        "validation_seed": orm.Int(first + seed["runs_per_temperature"]),
        "steps": orm.Int(fpmd["steps"]),
        "segment_steps": orm.Int(fpmd["segment_steps"]),
        "stride": orm.Int(seed["stride"]),
        "dynamics_incar": orm.Dict({"potim": fpmd["timestep"], **fpmd["incar"]}),
        "quorum": orm.Float(seed["quorum"]),
    }


def seed_faults(inputs, structure: orm.StructureData) -> str | None:
    """What is wrong with `inputs` of this WorkChain for the host `structure`; None if nothing."""
    message = localise_faults(inputs, structure, inputs["sites"].get_list()) or study_faults(
        inputs["vasp"], structure, inputs["carrier"], inputs["dynamics_incar"].get_dict(), "md", "dynamics_incar"
    )
    if message:
        return message
    seeds = inputs["seeds"].get_list()
    if inputs["validation_seed"].value in seeds:
        return f"validation_seed: {inputs['validation_seed'].value} is also in seeds; the held-out run needs its own"
    if not seeds:
        return "seeds: empty; give one seed for every run at each temperature"
    temperatures = [*inputs["temperatures"].get_list(), inputs["validation_temperature"].value]
    if len(temperatures) < 2 or not all(isinstance(t, int | float) and t > 0 for t in temperatures):
        return f"temperatures: {temperatures[:-1]}, validation_temperature: {temperatures[-1]}; give kelvins above 0"
    for name in ("steps", "segment_steps", "stride"):
        if inputs[name].value < 1:
            return f"{name}: {inputs[name].value}; give at least 1"
    return None


def _validate(inputs, _) -> str | None:
    if any(name not in inputs for name in ("structure", "sites", "carrier", "seeds", "validation_seed")):
        return None  # exposed elsewhere without them
    return seed_faults(inputs, inputs["structure"])
