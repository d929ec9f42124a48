"""`MDCalculation` (`leopold.md`): dynamics with a learned model, the charge state updated every step."""

from __future__ import annotations

from aiida import orm

from leopold_model.config import MDConfig
from leopold_workflows.calculations.job import RESULT, ResumableCalculation, species_message
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.data.track import TrackData

TRACK, TRAJECTORY = "track.h5", "trajectory.h5"


class MDCalculation(ResumableCalculation):
    """Run `leopold md` at temperatures x replicas. The carrier track comes back, the trajectory stays where
    it was made."""

    VERB = "md"
    SCHEMA = MDConfig
    MANAGED = ("kind", "model", "structures", "trajectory", "track", "max_wall_seconds", "seed")
    KEYS = "temperatures, replicas, timestep, steps, ensemble"
    CHECKPOINT = ("checkpoint.h5", TRACK, TRAJECTORY)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("model", valid_type=ModelData, help="The model that moves the atoms.")
        spec.input("start", valid_type=FrameSetData, help="Start frames with carrier sites, dealt out over replicas.")
        spec.input("seed", valid_type=orm.Int, validator=check_seed, help="Seed of velocities and thermostat noise.")
        spec.inputs.validator = validate_inputs
        spec.output("track", valid_type=TrackData, required=False, help="Carrier sites of every step, hop windows.")
        # facts about the model, true of any repetition: they may be cached
        spec.exit_code(504, "ERROR_CARRIER_LOST", message="The carrier delocalised in {n} of {total} replicas.")
        spec.exit_code(
            507, "ERROR_CARRIERS_MERGED", message="Two carriers went onto one site in {n} of {total} replicas."
        )
        spec.exit_code(510, "ERROR_MD_UNSTABLE", message="{n} of {total} replicas were stopped by a guard: {statuses}.")

    def prepare_for_submission(self, folder):
        config = self._write_config(
            folder,
            model="model.leopold",
            structures="start.h5",
            trajectory=TRAJECTORY,
            track=TRACK,
            seed=self.inputs.seed.value,
        )
        return self._calcinfo(
            [config],
            {"model.leopold": self.inputs.model, "start.h5": self.inputs.start},
            [RESULT, TRACK],
        )


def check_seed(node: orm.Int | None, _=None) -> str | None:
    """Not below zero."""
    if node is not None and node.value < 0:
        return f"seed = {node.value}: give a whole number, 0 or larger"
    return None


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "start" not in inputs or "model" not in inputs:
        return None
    if inputs["start"].n_frames == 0:
        return "`start` holds no frame: give at least one frame with carrier_sites"
    if inputs["start"].base.attributes.get("n_carriers") == 0:
        return "`start` holds frames without carrier_sites: dynamics must know where the carrier begins"
    return species_message(inputs["model"], inputs["start"])
