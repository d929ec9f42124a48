"""Parser of `leopold.train`: result and model to nodes, the reasons a training can fail to exit codes."""

from __future__ import annotations

from leopold_workflows.calculations.train import MODEL
from leopold_workflows.data.model import ModelData
from leopold_workflows.parsers.result import ResultParser, first_nan


class TrainParser(ResultParser):
    """Of leopold.train."""

    def parse_result(self, result):
        status = result.get("status")
        if status == "diverged":
            return self.exit_codes.ERROR_TRAINING_DIVERGED.format(reason="the loss is not finite")
        if status != "finished":
            return self._unreadable("result.json", f"status is {status!r}, not finished, out_of_walltime or diverged")
        nan = first_nan(result.get("errors", {}))
        if nan:
            return self.exit_codes.ERROR_TRAINING_DIVERGED.format(reason=f"error {nan} is not a number")
        return self._file_output("model", MODEL, ModelData)
