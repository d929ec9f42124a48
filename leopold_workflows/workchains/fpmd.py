"""`FPMDWorkChain` (`leopold.fpmd`): one first-principles trajectory, in segments."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, while_

from leopold_workflows.calculations.functions_vasp import chain_segments
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.monitors import ENTRY_POINT
from leopold_workflows.vasp.study import study
from leopold_workflows.vasp.verdict import MAX_PARTICIPATION
from leopold_workflows.workchains.ended import reason


class FPMDWorkChain(WorkChain):
    """Molecular dynamics of one cell with carriers for `steps` steps, in segments of at most `segment_steps`.

    Each segment goes on from structure, velocities and moments of the one before, and from its WAVECAR when
    it ended by itself. A segment that was killed counts with its complete steps: the next one starts there,
    without WAVECAR, which VASP writes at the end of a run and which would hold the carrier where it was then.
    A segment without a single complete step is tried again; after `max_failures` in a row the chain ends with
    exit code 405 and what it has. VASP's own settings are never changed between segments: steps that did not
    converge carry their flag. A job that loses its carrier or flies apart is ended while it runs (`monitor`).
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        adapter.expose(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Start, sites sorted by kind.")
        spec.input("carrier", valid_type=orm.Dict, help="As in leopold.vasp.")
        spec.input("sites", valid_type=orm.List, help="Atoms the carriers sit on at the start.")
        spec.input("velocities", valid_type=orm.ArrayData, help="`velocities` (n_atoms, 3) in Angstrom/fs.")
        spec.input("temperature", valid_type=orm.Float, help="K, of the thermostat.")
        spec.input("steps", valid_type=orm.Int, validator=_positive, help="Ionic steps in all.")
        spec.input("segment_steps", valid_type=orm.Int, validator=_positive, help="Ionic steps of one job at most.")
        spec.input("seed", valid_type=orm.Int, help="Of the thermostat; each segment adds its number.")
        spec.input("run", valid_type=orm.Str, help="Name of the trajectory on its frames.")
        spec.input("incar", valid_type=orm.Dict, required=False, help="INCAR tags of these runs.")
        spec.input("restart_folder", valid_type=orm.RemoteData, required=False, help="Folder with the first WAVECAR.")
        spec.input(
            "monitor",
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            validator=_limits,
            help="When a running job is ended early: `steps`, `max_participation`, `max_temperature_factor` of "
            "`vasp.monitors.dynamics`; seconds between two looks, `minimum_poll_interval`.",
        )
        spec.input("max_failures", valid_type=orm.Int, default=lambda: orm.Int(2), help="Tries without progress.")
        spec.outline(
            cls.setup,
            while_(cls.steps_remain)(
                cls.run_segment,
                cls.inspect_segment,
            ),
            cls.results,
        )
        spec.output("frames", valid_type=FrameSetData, required=False, help="Every complete step of every segment.")
        spec.output("structure", valid_type=orm.StructureData, required=False, help="Where the trajectory ended.")
        spec.output("velocities", valid_type=orm.ArrayData, required=False, help="Velocities there, Angstrom/fs.")
        spec.output("remote_folder", valid_type=orm.RemoteData, required=False, help="Folder of the last segment.")
        spec.exit_code(
            405,
            "ERROR_SEGMENT_FAILED",
            message="segment {segment} gave no complete step in {tries} tries, last exit status {status}; "
            "the segments before it are in `frames`",
        )
        spec.exit_code(
            501,
            "ERROR_POLARON_DELOCALISED",
            message="the carrier was delocalised in most steps and at the end of segment {segment}; `frames` holds all",
        )
        spec.exit_code(
            511,
            "ERROR_DYNAMICS_STOPPED",
            message="segment {segment} was ended while it ran: {why}; `frames` holds what was complete",
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, structure, velocities, *, temperature, sites, run, seed=0, material, protocol=None, overrides=None,
        potential_family=None, options=None,
    ):  # fmt: skip
        """A builder with the inputs of protocols `fpmd` and `vasp` for a `material` ('mgo', 'tio2')."""
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        inputs = shared.protocol("fpmd")
        builder = cls.get_builder()
        builder.vasp, builder.carrier = shared.vasp, shared.carrier
        builder.structure, builder.velocities = structure, velocities
        builder.sites, builder.run = orm.List(list(sites)), orm.Str(run)
        builder.temperature, builder.seed = orm.Float(temperature), orm.Int(seed)
        builder.steps, builder.segment_steps = orm.Int(inputs["steps"]), orm.Int(inputs["segment_steps"])
        builder.incar = orm.Dict({"potim": inputs["timestep"], **inputs["incar"]})
        return builder

    def setup(self):
        """Begin with nothing done."""
        self.ctx.done = 0
        self.ctx.segments = 0
        self.ctx.failures = 0
        self.ctx.structure = self.inputs.structure
        self.ctx.velocities = self.inputs.velocities
        self.ctx.sites = self.inputs.sites.get_list()
        self.ctx.restart_folder = self.inputs.get("restart_folder")

    def steps_remain(self):
        """Whether the trajectory is shorter than asked."""
        return self.ctx.done < self.inputs.steps.value

    def run_segment(self):
        """Submit the next segment."""
        temperature = self.inputs.temperature.value
        incar = {
            **(self.inputs.incar.get_dict() if "incar" in self.inputs else {}),
            "nsw": min(self.inputs.segment_steps.value, self.inputs.steps.value - self.ctx.done),
            "tebeg": temperature,
            "teend": temperature,
            "random_seed": [self.inputs.seed.value + self.ctx.segments, 0, 0],
        }
        inputs = adapter.job_inputs(
            AttributeDict(self.inputs.vasp),
            self.ctx.structure,
            self.inputs.carrier,
            stage="md",
            run=self.inputs.run.value,
            sites=self.ctx.sites,
            incar=incar,
            velocities=self.ctx.velocities,
            restart_folder=self.ctx.restart_folder,
            tags={"temperature": temperature},
        )
        limits = self.inputs.monitor.get_dict()
        poll = limits.pop("minimum_poll_interval", 60)
        inputs["monitors"] = {
            "dynamics": orm.Dict({"entry_point": ENTRY_POINT, "kwargs": limits, "minimum_poll_interval": poll})
        }
        return ToContext(segment=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_segment(self):
        """Take over what is complete; decide how to go on."""
        segment = self.ctx.segment
        codes = LeopoldVaspCalculation.exit_codes
        stopped = segment.exit_status == codes.STOPPED_BY_MONITOR.status
        killed = stopped or segment.exit_status == codes.ERROR_OUT_OF_WALLTIME.status
        if not (segment.is_finished_ok or (killed and "velocities" in segment.outputs)):
            return self._failed(segment)
        self.ctx.failures = 0
        self.ctx.segments += 1
        self.ctx.done += segment.outputs.misc["n_steps"] - _repeats_last_step(segment)
        self.ctx[f"segment_{self.ctx.segments:03d}"] = segment.outputs.frames
        self.ctx.structure = segment.outputs.structure
        self.ctx.velocities = segment.outputs.velocities
        self.ctx.sites = segment.outputs.carrier["sites"]
        self.ctx.restart_folder = None if killed else segment.outputs.remote_folder
        self.ctx.last_folder = segment.outputs.remote_folder
        if stopped:
            self.results()
            return self.exit_codes.ERROR_DYNAMICS_STOPPED.format(segment=self.ctx.segments, why=reason(segment))
        if killed:
            self.report(f"segment {self.ctx.segments} was killed; going on after step {self.ctx.done}")
        carrier = segment.outputs.carrier
        if carrier["localised_fraction"] < 0.5 and carrier["participation"] > MAX_PARTICIPATION:
            self.results()
            return self.exit_codes.ERROR_POLARON_DELOCALISED.format(segment=self.ctx.segments)
        return None

    def _failed(self, segment):
        self.ctx.failures += 1
        self.report(f"{segment.process_label}<{segment.pk}> gave nothing to go on from: {reason(segment)}")
        critical = LeopoldVaspCalculation.exit_codes.ERROR_VASP_CRITICAL_ERROR.status
        if self.ctx.failures >= self.inputs.max_failures.value or segment.exit_status == critical:
            self.results()
            return self.exit_codes.ERROR_SEGMENT_FAILED.format(
                segment=self.ctx.segments + 1, tries=self.ctx.failures, status=segment.exit_status
            )
        return None

    def results(self):
        """Chain the segments to one trajectory."""
        if not self.ctx.segments:
            return
        names = [f"segment_{k:03d}" for k in range(1, self.ctx.segments + 1)]
        self.out("frames", chain_segments(**{name: self.ctx[name] for name in names}))
        self.out("structure", self.ctx.structure)
        self.out("velocities", self.ctx.velocities)
        self.out("remote_folder", self.ctx.last_folder)


def _limits(node, _):
    known = ("steps", "max_participation", "max_temperature_factor", "minimum_poll_interval")
    unknown = sorted(set(node.get_dict()) - set(known)) if node else ()
    return f"unknown key {unknown[0]!r}: known keys are {', '.join(known)}" if unknown else None


def _positive(node, _):
    return None if node is None or node.value >= 1 else f"{node.value}: give at least 1"


def _repeats_last_step(segment) -> bool:
    """Whether the next segment will begin with the last step once more: CONTCAR was lost and OUTCAR stood in for it."""
    last = segment.outputs.frames.get_frames()[-1]
    return bool(np.allclose(segment.outputs.structure.get_ase().positions, last.positions, atol=1e-6))
