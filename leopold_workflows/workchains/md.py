"""`MDBaseWorkChain` (`leopold.md.base`): one run of learned dynamics, continued across walltime limits."""

from __future__ import annotations

from aiida.engine import ProcessHandlerReport, process_handler

from leopold_workflows.calculations.md import MDCalculation
from leopold_workflows.workchains.restart import ResumingWorkChain


class MDBaseWorkChain(ResumingWorkChain):
    """Run `leopold md` until all its steps are done.

    Dynamics that ran out of walltime is continued from its checkpoint. Dynamics that a guard stopped is not
    repeated, for it would stop again: its exit code is passed on together with the track up to the last good
    block, and the caller judges.
    """

    _process_class = MDCalculation
    NAMESPACE = "md"

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.exit_code(504, "ERROR_CARRIER_LOST", message="The carrier delocalised; the track up to then is attached.")
        spec.exit_code(
            507, "ERROR_CARRIERS_MERGED", message="Two carriers went onto one site; the track up to then is attached."
        )
        spec.exit_code(
            510, "ERROR_MD_UNSTABLE", message="A guard stopped the dynamics; the track up to then is attached."
        )

    @process_handler(
        priority=300,
        exit_codes=[
            MDCalculation.exit_codes.ERROR_MD_UNSTABLE,
            MDCalculation.exit_codes.ERROR_CARRIER_LOST,
            MDCalculation.exit_codes.ERROR_CARRIERS_MERGED,
        ],
    )
    def keep_what_was_good(self, node):
        """A guard stopped replicas: end here, with their track."""
        self.ctx.is_finished = True
        self.results()
        return ProcessHandlerReport(True, self.exit_codes(node.exit_status))
