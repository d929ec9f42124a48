"""Parsers of the jobs on patterns: model, suggestions or chains to nodes, what is missing to exit codes."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from leopold_workflows.calculations.patterns import MODEL, RUN
from leopold_workflows.data.patterns import PatternModelData, PatternRunData
from leopold_workflows.parsers.result import ResultParser, first_nan


class PatternParser(ResultParser):
    """Base of the three: a job that stopped for its walltime has only a checkpoint."""

    def parse_result(self, result):
        if result.get("status") == "out_of_walltime":
            return self.exit_codes.ERROR_OUT_OF_WALLTIME
        return self.parse_finished(result)

    def parse_finished(self, result: dict) -> ExitCode | None:
        """Nodes and exit code of a job that came to its end."""
        raise NotImplementedError


class PatternTrainParser(PatternParser):
    def parse_finished(self, result):
        nan = first_nan({part: result.get(part) for part in ("train", "validation", "test")})
        if nan:
            return self._unreadable("result.json", f"{nan} is not a number: the training diverged")
        return self._file_output("model", MODEL, PatternModelData)


class PatternSuggestParser(PatternParser):
    def parse_finished(self, result):
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


class PatternAnnealParser(PatternParser):
    def parse_finished(self, result):
        return self._file_output("run", RUN, PatternRunData)
