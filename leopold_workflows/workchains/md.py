"""`MDBaseWorkChain` (`leopold.md.base`): one run of learned dynamics, continued across walltime limits."""

from __future__ import annotations

from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ProcessHandlerReport, process_handler, while_

from leopold_workflows.calculations.md import MDCalculation


class MDBaseWorkChain(BaseRestartWorkChain):
    """Run `leopold md` until all its steps are done.

    Dynamics that ran out of walltime is continued from its checkpoint. Dynamics that a guard stopped is not
    repeated, for it would stop again: its exit code is passed on together with the track up to the last good
    block, and the caller judges.
    """

    _process_class = MDCalculation

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(MDCalculation, namespace="md", exclude=("restart_folder",))
        spec.expose_outputs(MDCalculation)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(
                cls.run_process,
                cls.inspect_process,
            ),
            cls.results,
        )
        spec.exit_code(504, "ERROR_CARRIER_LOST", message="The carrier delocalised; the track up to then is attached.")
        spec.exit_code(
            510, "ERROR_MD_UNSTABLE", message="A guard stopped the dynamics; the track up to then is attached."
        )

    def setup(self):
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(MDCalculation, "md"))

    @process_handler(priority=400, exit_codes=MDCalculation.exit_codes.ERROR_OUT_OF_WALLTIME)
    def continue_from_checkpoint(self, node):
        """The walltime ran out: go on from the checkpoint in the remote folder."""
        self.ctx.inputs.restart_folder = node.outputs.remote_folder
        self.report(f"dynamics {node.pk} ran out of walltime: continuing from its checkpoint")
        return ProcessHandlerReport(True)

    @process_handler(
        priority=300,
        exit_codes=[
            MDCalculation.exit_codes.ERROR_MD_UNSTABLE,
            MDCalculation.exit_codes.ERROR_CARRIER_LOST,
        ],
    )
    def keep_what_was_good(self, node):
        """A guard stopped replicas: end here, with their track."""
        self.ctx.is_finished = True
        self.results()
        name = "ERROR_CARRIER_LOST" if node.exit_status == 504 else "ERROR_MD_UNSTABLE"
        return ProcessHandlerReport(True, getattr(self.exit_codes, name))

    def results(self):
        node = self.ctx.children[self.ctx.iteration - 1]
        self.out_many(self.exposed_outputs(node, MDCalculation))
