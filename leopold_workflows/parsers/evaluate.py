"""Parser of `leopold.evaluate`: errors to a Dict, the model's moments of every frame to arrays."""

from __future__ import annotations

from aiida import orm

from leopold_model.foreign import read_npz
from leopold_workflows.calculations.evaluate import PREDICTIONS
from leopold_workflows.parsers.result import ResultParser, first_nan


class EvaluateParser(ResultParser):
    """Of leopold.evaluate."""

    def parse_result(self, result):
        nan = first_nan(result)
        if nan:
            return self._unreadable("result.json", f"{nan} is not a number: the model gave no finite value")
        if PREDICTIONS not in self.retrieved.base.repository.list_object_names():
            return self._missing(PREDICTIONS)
        try:
            with self.retrieved.base.repository.as_path(PREDICTIONS) as path:
                arrays = read_npz(path, ValueError, "run it again")
            numbers = {name: array for name, array in arrays.items() if array.dtype.kind in "fiub"}
            self.out("predictions", orm.ArrayData(numbers))
        except ValueError as error:
            return self._unreadable(PREDICTIONS, error)
        return None
