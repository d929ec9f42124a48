"""`TrainCalculation` (`leopold.train`): frames in, model out."""

from __future__ import annotations

from leopold_model.config import TrainConfig
from leopold_workflows.calculations.job import RESULT, ResumableCalculation, species_message
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData

MODEL = "model.leopold"


class TrainCalculation(ResumableCalculation):
    """Run `leopold train`: fit the network to labelled frames, evaluate it on frames it never saw."""

    VERB = "train"
    SCHEMA = TrainConfig
    MANAGED = ("kind", "frames", "validation", "test", "initial_model", "output", "max_wall_seconds")
    KEYS = "network, loss, epochs, learning_rate, seed"
    CHECKPOINT = ("checkpoint.msgpack",)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("frames", valid_type=FrameSetData, help="Frames to train on.")
        spec.input(
            "validation",
            valid_type=FrameSetData,
            required=False,
            help="Frames to validate on; without them the end of every run is split off.",
        )
        spec.input("test", valid_type=FrameSetData, required=False, help="A held-out run, evaluated once at the end.")
        spec.input("initial_model", valid_type=ModelData, required=False, help="Model to start from.")
        spec.inputs.validator = validate_inputs
        spec.output("model", valid_type=ModelData, required=False, help="The trained model.")
        spec.exit_code(
            421, "ERROR_OUT_OF_MEMORY", message="The training ran out of memory: {said}.", invalidates_cache=True
        )
        spec.exit_code(430, "ERROR_TRAINING_DIVERGED", message="The training diverged: {reason}.")

    def prepare_for_submission(self, folder):
        files = {"frames": "frames.h5", "output": MODEL}
        copies = {"frames.h5": self.inputs.frames}
        for port, name in (("validation", "validation.h5"), ("test", "test.h5"), ("initial_model", "initial.leopold")):
            if port in self.inputs:
                files[port], copies[name] = name, self.inputs[port]
        config = self._write_config(folder, **files)
        return self._calcinfo(
            [config],
            copies,
            [RESULT, MODEL, "log.csv", "learning_curve.png", "parity.png"],
        )


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "frames" in inputs and inputs["frames"].n_frames == 0:
        return "`frames` holds no frame: give at least one labelled frame"
    if "initial_model" in inputs and "frames" in inputs:
        return species_message(inputs["initial_model"], inputs["frames"])
    return None
