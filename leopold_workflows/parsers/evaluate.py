"""Parser of `leopold.evaluate`: errors to a Dict, the model's moments of every frame to arrays."""

from __future__ import annotations

import numpy as np
from aiida import orm

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
        with self.retrieved.base.repository.open(PREDICTIONS, "rb") as handle:
            try:
                arrays = {name: array for name, array in np.load(handle).items() if array.dtype.kind in "fiub"}
            except (ValueError, OSError) as error:
                return self._unreadable(PREDICTIONS, error)
        self.out("predictions", orm.ArrayData(arrays))
        return None
