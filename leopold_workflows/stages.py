"""The stage a study is in; between two stages, what was done last and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiida.orm import ProcessNode, WorkflowNode

from leopold_workflows.process_tree import Process

# innermost process first: the first of these that is active names the stage
STAGES = {
    "LabelFramesWorkChain": "label: VASP with occupation control on hop frames",
    "TransportWorkChain": "transport: production dynamics",
    "ExploreWorkChain": "explore: machine-learned dynamics",
    "EvaluateCalculation": "evaluate: the model on labels it has not seen",
    "TrainBaseWorkChain": "train: fit the network",
    "FPMDWorkChain": "seed: first-principles molecular dynamics",
    "SeedWorkChain": "seed: localise the carrier",
    "SeedConfigurationsWorkChain": "seed: several configurations",
    "PatternTrainCalculation": "train: fit the networks",
    "PatternSuggestCalculation": "suggest: what to label next",
    "LocaliseWorkChain": "label: VASP with occupation control",
    "LabelPatternsWorkChain": "label: patterns of defects without carriers",
    "AnnealBaseWorkChain": "anneal: surfaces",
}
# what follows each stage of a WorkChain, innermost WorkChain first; "" stands before the first
FOLLOWING: Mapping[str, Mapping[str, str]] = {
    "LearnWorkChain": {
        "": "train",
        "TrainBaseWorkChain": "explore",
        "ExploreWorkChain": "label, unless nothing is new",
        "LabelFramesWorkChain": "evaluate, then train",
        "EvaluateCalculation": "train",
    },
    "PolaronDynamicsWorkChain": {
        "": "seed",
        "SeedWorkChain": "learn",
        "SeedConfigurationsWorkChain": "learn",
        "LearnWorkChain": "transport",
        "TransportWorkChain": "results",
    },
    "LearnPatternsWorkChain": {
        "": "label",
        "PatternTrainCalculation": "suggest, unless it has settled",
        "PatternSuggestCalculation": "label",
        "LabelPatternsWorkChain": "train",
    },
    "SurfacePatternWorkChain": {"": "anneal", "AnnealBaseWorkChain": "the next surfaces, or results"},
    "PatternsWorkChain": {"": "learn", "LearnPatternsWorkChain": "anneal", "SurfacePatternWorkChain": "results"},
}
# what to call those that are no stage themselves
NAMES = {"LearnWorkChain": "learn", "LearnPatternsWorkChain": "learn", "SurfacePatternWorkChain": "anneal"}


def stage_of(process: WorkflowNode, tree: Sequence[Process]) -> str:
    """What `process` with these descendants is at, or what it did last and does next; its state when it has ended."""
    if process.is_terminated:
        return state_of(process)
    active = {process.process_label, *(n.label for n in tree if not n.is_terminated)}
    under_way = (text for label, text in STAGES.items() if label in active)
    return next(under_way, None) or _between(process, tree, [label for label in FOLLOWING if label in active])


def _between(process: WorkflowNode, tree: Sequence[Process], active: Sequence[str]) -> str:
    following = {stage: then for label in active for stage, then in FOLLOWING[label].items() if stage}
    # a model is evaluated on the holdout beside the exploration, which is the stage
    ended = [n for n in tree if n.label in following and n.is_terminated and not n.link.endswith("holdout")]
    if not ended:
        return f"nothing done yet; next: {_first(process) or FOLLOWING[active[0]]['']}"
    last = max(ended, key=lambda n: n.pk)
    name = NAMES.get(last.label) or STAGES[last.label].partition(":")[0]
    how = "done" if last.is_finished_ok else f"ended with {last.exit_status}" if last.is_finished else str(last.state)
    return f"{name} {how}; next: {following[last.label]}"


def _first(process: WorkflowNode) -> str | None:
    """What a study begins with where the results of earlier stages are given."""
    if "model" in process.inputs and "catalogue" in process.inputs:
        return "transport"
    if "frames" in process.inputs:
        return "learn"
    return "train" if "labels" in process.inputs else None


def state_of(process: ProcessNode) -> str:
    """Its state, with the exit status where it has finished."""
    state = process.process_state.value if process.process_state else "created"
    return f"{state} [{process.exit_status}]" if process.is_finished else state
