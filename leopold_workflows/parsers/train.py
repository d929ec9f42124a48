"""Parser of `leopold.train`: result and model to nodes, the reasons a training can fail to exit codes."""

from __future__ import annotations

import re

from aiida.engine import CalcJob

from leopold_workflows.calculations.job import STDERR
from leopold_workflows.calculations.train import MODEL
from leopold_workflows.data.model import ModelData
from leopold_workflows.parsers.result import ResultParser, first_nan

SCHEDULER_STDERR = "_scheduler-stderr.txt"
# words of XLA, of Python and the driver, of SLURM
_OUT_OF_MEMORY = re.compile(r".*(RESOURCE_EXHAUSTED|MemoryError|out of memory|oom[-_ ]kill).*", re.IGNORECASE)


class TrainParser(ResultParser):
    """Of leopold.train."""

    def _missing(self, name):
        printed = f"{self._content(STDERR)}\n{self._content(SCHEDULER_STDERR)}"
        said = _OUT_OF_MEMORY.search(printed)
        if said or self.node.exit_status == CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return self.exit_codes.ERROR_OUT_OF_MEMORY.format(said=said[0].strip() if said else "the scheduler says so")
        return super()._missing(name)

    def parse_result(self, result):
        status = result.get("status")
        if status == "diverged":
            # where an epoch was ever validated, the file holds the best state before the end
            unreadable = self._file_output("model", MODEL, ModelData) if result["best_epoch"] > 0 else None
            return unreadable or self.exit_codes.ERROR_TRAINING_DIVERGED.format(reason="the loss grew without bound")
        if status != "finished":
            return self._unreadable("result.json", f"status is {status!r}, not finished, out_of_walltime or diverged")
        nan = first_nan(result.get("errors", {}))
        if nan:
            return self.exit_codes.ERROR_TRAINING_DIVERGED.format(reason=f"error {nan} is not a number")
        return self._file_output("model", MODEL, ModelData)
