"""What the WorkChains around one resumable `leopold` job have in common."""

from __future__ import annotations

from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessHandlerReport, process_handler, while_

from leopold_workflows.calculations.job import OUT_OF_WALLTIME, OUTPUT_MISSING


class ResumingWorkChain(BaseRestartWorkChain):
    """Run one job to its end: where its walltime ran out, it is continued from its checkpoint.

    One that was continued and left nothing is started over: its checkpoint was damaged, by a full disk for instance, or
    a part of it was cleaned away. (Where all of it was, the job begins anew by itself.)

    A subclass names the job as `_process_class`, the namespace of its inputs, and handles its other failures.
    """

    NAMESPACE = ""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace=cls.NAMESPACE)
        spec.expose_outputs(cls._process_class)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(
                cls.run_process,
                cls.inspect_process,
            ),
            cls.results,
        )

    def setup(self):
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self.process_class, self.NAMESPACE))

    @process_handler(priority=400, exit_codes=ExitCode(OUT_OF_WALLTIME))
    def continue_from_checkpoint(self, node):
        """The walltime ran out: go on from the checkpoint in the remote folder."""
        self.ctx.inputs.restart_folder = node.outputs.remote_folder
        self.report(f"{self.ctx.process_name}<{node.pk}> ran out of walltime: continuing from its checkpoint")
        return ProcessHandlerReport(True)

    @process_handler(priority=200, exit_codes=ExitCode(OUTPUT_MISSING))
    def start_over(self, node):
        """It was continued from a checkpoint and left no result: begin without one."""
        if self.ctx.inputs.pop("restart_folder", None) is None:
            return None
        self.report(f"{self.ctx.process_name}<{node.pk}> could not go on from its checkpoint: starting over")
        return ProcessHandlerReport(True)
