"""Parser of `leopold.barrier.learned`: the paths to a Dict, a hop without a barrier to an exit code."""

from __future__ import annotations

from leopold_workflows.parsers.result import ResultParser


class BarrierParser(ResultParser):
    """Of leopold.barrier.learned."""

    def parse_result(self, result):
        status = result.get("status")
        if status == "no_barrier":
            return self.exit_codes.ERROR_NO_BARRIER.format(why=result["reason"])
        if status != "finished":
            return self._unreadable("result.json", f"status is {status!r}, not finished or no_barrier")
        return None
