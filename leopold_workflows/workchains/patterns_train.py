"""`TrainPatternsBaseWorkChain` (`leopold.patterns.train.base`): one training on labels to its end."""

from __future__ import annotations

from leopold_workflows.calculations.patterns import PatternTrainCalculation
from leopold_workflows.workchains.restart import ResumingWorkChain


class TrainPatternsBaseWorkChain(ResumingWorkChain):
    """Train one ensemble; a job whose walltime ran out is continued from its checkpoint, and gives the same model as
    one that had not stopped. Anything else is final."""

    _process_class = PatternTrainCalculation
    NAMESPACE = "training"
