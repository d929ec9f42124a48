"""`TrainBaseWorkChain` (`leopold.train.base`): one training, with what to do when it does not end well."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessHandlerReport, process_handler

from leopold_model.config import TrainConfig, parse
from leopold_workflows.calculations.functions import lower_learning_rate, smaller_batches
from leopold_workflows.calculations.train import TrainCalculation
from leopold_workflows.protocols import protocol as load_protocol
from leopold_workflows.workchains.restart import ResumingWorkChain


class TrainBaseWorkChain(ResumingWorkChain):
    """Train one model.

    A training that ran out of walltime is resumed from its checkpoint, which gives the same model as an
    uninterrupted one. A training that diverged goes on from the best model it had, with `LEARNING_RATE_FACTOR` times
    the learning rate; one that ran out of memory starts again with half the frames in a batch. Anything else is final.
    Frames of different levels of theory are refused before anything is trained.
    """

    _process_class = TrainCalculation
    NAMESPACE = "training"
    LEARNING_RATE_FACTOR = 0.3

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.exit_code(
            203,
            "ERROR_LABEL_SETTINGS_DIFFER",
            message="the frames are of several levels of theory, by the hash of their settings: {found}; train on one",
        )
        spec.exit_code(310, "ERROR_NO_MODEL", message="Training ended without an error but left no model.")

    @classmethod
    def get_builder_from_protocol(cls, code, protocol=None, overrides=None):
        """A builder without frames: `code` is `leopold`, `protocol` fast | balanced | stringent."""
        builder = cls.get_builder()
        inputs = train_inputs(load_protocol("train", protocol, overrides), code)
        for name, value in inputs.pop("training").items():
            builder.training[name] = value
        for name in ("max_iterations", "on_unhandled_failure"):
            builder[name] = inputs[name]
        return builder

    def setup(self):
        """Refuse frames whose energies cannot be compared; they may differ by U, POTCARs, k-mesh, cell or precision."""
        super().setup()
        training = self.inputs[self.NAMESPACE]
        sets = {name: training[name] for name in ("frames", "validation", "test") if name in training}
        found = {name: node.base.attributes.get("settings") for name, node in sets.items()}
        if len({settings for given in found.values() for settings in given}) > 1:
            told = "; ".join(f"{name} {', '.join(s or 'unknown' for s in given)}" for name, given in found.items())
            return self.exit_codes.ERROR_LABEL_SETTINGS_DIFFER.format(found=told)
        return None

    @process_handler(priority=300, exit_codes=TrainCalculation.exit_codes.ERROR_TRAINING_DIVERGED)
    def lower_the_learning_rate(self, node):
        """The loss grew without bound: begin at the best model there was, with smaller steps."""
        self.ctx.inputs.pop("restart_folder", None)
        if "model" in node.outputs:  # it was better than its start at some time
            self.ctx.inputs.initial_model = node.outputs.model
        self.ctx.inputs.parameters = lower_learning_rate(node.inputs.parameters, orm.Float(self.LEARNING_RATE_FACTOR))
        rate = self.ctx.inputs.parameters["learning_rate"]
        begin = self.ctx.inputs.get("initial_model")
        start = "its beginning" if begin is None else f"model {begin.pk}"
        self.report(f"training {node.pk} diverged: starting from {start} with learning rate {rate:.2g}")
        return ProcessHandlerReport(True)

    @process_handler(priority=300, exit_codes=TrainCalculation.exit_codes.ERROR_OUT_OF_MEMORY)
    def train_in_smaller_batches(self, node):
        """A batch did not fit: start again with half of it; one of a single frame does not get smaller."""
        parameters = smaller_batches(node.inputs.parameters)
        if parameters["batch_size"] == parse(node.inputs.parameters.get_dict(), TrainConfig).batch_size:
            return None
        self.ctx.inputs.pop("restart_folder", None)
        self.ctx.inputs.parameters = parameters
        self.report(f"training {node.pk} ran out of memory: starting again with {parameters['batch_size']} per batch")
        return ProcessHandlerReport(True)

    def results(self):
        node = self.ctx.children[self.ctx.iteration - 1]
        return super().results() if "model" in node.outputs else self.exit_codes.ERROR_NO_MODEL


def train_inputs(settings: dict, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on frames, from its protocol's `settings`."""
    return {
        "training": {
            "code": code,
            "parameters": orm.Dict(settings["parameters"]),
            "metadata": {"options": settings["options"]},
        },
        "max_iterations": orm.Int(settings["max_iterations"]),
        "on_unhandled_failure": orm.Str(settings["on_unhandled_failure"]),
    }
