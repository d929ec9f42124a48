"""Parser of `leopold.md`: the carrier track to a node, the ways dynamics can stop to exit codes."""

from __future__ import annotations

from leopold_workflows.calculations.md import TRACK
from leopold_workflows.data.track import TrackData
from leopold_workflows.parsers.result import ResultParser

# how carriers end without the dynamics being unstable
CARRIERS = {"carrier_lost": "ERROR_CARRIER_LOST", "carriers_merged": "ERROR_CARRIERS_MERGED"}


class MDParser(ResultParser):
    """Of leopold.md."""

    def parse_result(self, result):
        status = result.get("status")
        failure = self._file_output("track", TRACK, TrackData)
        if failure:
            return failure
        stopped = [r["status"] for r in result.get("replicas", []) if r["status"] != "finished"]
        total = len(result.get("replicas", []))
        if status == "finished" and not stopped:
            return None
        if len(set(stopped)) == 1 and stopped[0] in CARRIERS:
            return self.exit_codes(CARRIERS[stopped[0]]).format(n=len(stopped), total=total)
        statuses = ", ".join(sorted(set(stopped))) or str(status)
        return self.exit_codes.ERROR_MD_UNSTABLE.format(n=len(stopped), total=total, statuses=statuses)
