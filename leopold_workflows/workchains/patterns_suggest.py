"""`SuggestBaseWorkChain` (`leopold.patterns.suggest.base`): one search for what to label next, to its end."""

from __future__ import annotations

from leopold_workflows.calculations.patterns import PatternSuggestCalculation
from leopold_workflows.workchains.restart import ResumingWorkChain


class SuggestBaseWorkChain(ResumingWorkChain):
    """Suggest configurations; a job whose walltime ran out is continued from the checkpoint of its chains, and
    suggests what it would have. Anything else is final."""

    _process_class = PatternSuggestCalculation
    NAMESPACE = "search"
