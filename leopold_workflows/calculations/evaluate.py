"""`EvaluateCalculation` (`leopold.evaluate`): errors of a model on labelled frames."""

from __future__ import annotations

from aiida import orm

from leopold_workflows.calculations.job import RESULT, LeopoldCalculation, species_message
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData

PREDICTIONS = "predictions.npz"


class EvaluateCalculation(LeopoldCalculation):
    """Run `leopold evaluate`: root-mean-square and largest errors, and what the model says of every frame."""

    VERB = "evaluate"

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("model", valid_type=ModelData, help="The model to judge.")
        spec.input("frames", valid_type=FrameSetData, help="Labelled frames.")
        spec.input(
            "dtype",
            valid_type=orm.Str,
            default=lambda: orm.Str("float32"),
            validator=check_dtype,
            help="Precision of the evaluation, float32 or float64.",
        )
        spec.inputs.validator = validate_inputs
        spec.output(
            "predictions",
            valid_type=orm.ArrayData,
            help="Answers per frame or per atom, end to end in the order of `frames`.",
        )

    def prepare_for_submission(self, folder):
        return self._calcinfo(
            ["model.leopold", "frames.h5", "--dtype", self.inputs.dtype.value, "--json", "--predictions", PREDICTIONS],
            {"model.leopold": self.inputs.model, "frames.h5": self.inputs.frames},
            [RESULT, PREDICTIONS],
            stdout=RESULT,
        )


def check_dtype(node: orm.Str | None, _=None) -> str | None:
    """One of the two."""
    if node is not None and node.value not in ("float32", "float64"):
        return f"dtype = {node.value!r}: choose float32 or float64"
    return None


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "frames" not in inputs or "model" not in inputs:
        return None
    if inputs["frames"].n_frames == 0:
        return "`frames` holds no frame: there is nothing to evaluate"
    return species_message(inputs["model"], inputs["frames"])
