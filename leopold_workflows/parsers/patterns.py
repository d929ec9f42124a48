"""Parsers of the jobs on patterns: model, suggestions or chains to nodes, what is missing to exit codes."""

from __future__ import annotations

import numpy as np
from aiida import orm

from leopold_workflows.calculations.patterns import MODEL, RUN
from leopold_workflows.data.patterns import PatternModelData, PatternRunData
from leopold_workflows.parsers.result import ResultParser, first_nan


class PatternTrainParser(ResultParser):
    """Of leopold.patterns.train."""

    def parse_result(self, result):
        nan = first_nan({part: result.get(part) for part in ("train", "validation", "test")})
        if nan:
            return self._unreadable("result.json", f"{nan} is not a number: the training diverged")
        return self._file_output("model", MODEL, PatternModelData)


class PatternSuggestParser(ResultParser):
    """Of leopold.patterns.suggest."""

    def parse_result(self, result):
        found = result.get("suggestions")
        if found is None:
            return self._unreadable("result.json", "no key `suggestions`")
        arrays = {
            "occupations": np.array([row["occupations"] for row in found], dtype=np.int8),
            "energies": np.array([row["energy_eV"] for row in found], dtype=float),
            "spreads": np.array([row["spread_eV"] for row in found], dtype=float),
        }
        self.out("configurations", orm.ArrayData(arrays))
        return None


class PatternAnnealParser(ResultParser):
    """Of leopold.patterns.anneal."""

    def parse_result(self, result):
        return self._file_output("run", RUN, PatternRunData)
