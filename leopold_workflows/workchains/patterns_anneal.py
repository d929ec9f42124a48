"""`AnnealBaseWorkChain` (`leopold.patterns.anneal.base`): one annealing to its end."""

from __future__ import annotations

from leopold_workflows.calculations.patterns import PatternAnnealCalculation
from leopold_workflows.workchains.restart import ResumingWorkChain


class AnnealBaseWorkChain(ResumingWorkChain):
    """Anneal one supercell; a job whose walltime ran out is continued from its checkpoint, and ends as if it had not
    stopped. Anything else is final."""

    _process_class = PatternAnnealCalculation
    NAMESPACE = "anneal"
