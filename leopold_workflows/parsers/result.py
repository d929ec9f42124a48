"""Reading what a `leopold ...` job left behind, before it becomes nodes."""

from __future__ import annotations

import json
import math

from aiida import orm
from aiida.engine import ExitCode
from aiida.parsers import Parser

from leopold_workflows.calculations.job import RESULT, STDERR


class ResultParser(Parser):
    """Base of the parsers: the result file first, since everything else depends on what it says."""

    def parse(self, **kwargs):
        text = self._content(RESULT)
        if text is None:
            return self._missing(RESULT)
        try:
            result = read_result(text)
        except ValueError as error:
            return self.exit_codes.ERROR_RESULT_UNREADABLE.format(name=RESULT, reason=str(error))
        self.out("results", orm.Dict(without_nan(result)))
        if result.get("status") == "out_of_walltime":  # there is a checkpoint and nothing else
            return self.exit_codes.ERROR_OUT_OF_WALLTIME
        try:
            return self.parse_result(result)
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # keys or kinds that are not the verb's
            return self._unreadable(RESULT, f"{type(error).__name__}: {error}")

    def parse_result(self, result: dict) -> ExitCode | None:
        """Nodes and exit code of a readable `result` of a job that came to its end."""
        raise NotImplementedError

    def _content(self, name: str) -> str | None:
        if name not in self.retrieved.base.repository.list_object_names():
            return None
        return self.retrieved.base.repository.get_object_content(name, "rb").decode(errors="replace")

    def _missing(self, name: str) -> ExitCode:
        last = [line for line in (self._content(STDERR) or "").splitlines() if line.strip()][-1:]
        where = f"{STDERR} ({last[0].strip()})" if last else STDERR
        return self.exit_codes.ERROR_OUTPUT_MISSING.format(name=name, stderr=where)

    def _unreadable(self, name: str, reason) -> ExitCode:
        return self.exit_codes.ERROR_RESULT_UNREADABLE.format(name=name, reason=str(reason))

    def _file_output(self, port: str, name: str, node_class) -> ExitCode | None:
        """Attach the retrieved file `name` as a one-file node, or return why that cannot be done."""
        if name not in self.retrieved.base.repository.list_object_names():
            return self._missing(name)
        try:
            with self.retrieved.base.repository.open(name, "rb") as handle:
                self.out(port, node_class(handle))
        except ValueError as error:
            return self._unreadable(name, error)
        return None


def read_result(text: str) -> dict:
    """The JSON object of a result file; ValueError when it is empty, cut off or something else."""
    if not text.strip():
        raise ValueError("it is empty: the job was killed before it wrote anything")
    try:
        result = json.loads(text.replace("\\u0000", "\\ufffd"))  # which PostgreSQL does not store
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error}): the job was killed while it wrote") from None
    if not isinstance(result, dict):
        raise ValueError(f"a JSON object is expected, found {type(result).__name__}")
    return result


def without_nan(value):
    """`value` with numbers that are not finite as None: the database takes no others."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def first_nan(value, path: str = "") -> str | None:
    """Dotted path of the first number in `value` that is not finite, or None."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            found = first_nan(item, f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return path if isinstance(value, float) and not math.isfinite(value) else None
