"""Questions about a study, answered from the provenance graph: which VASP runs, frames and labels stand behind a node.

Every function takes a stored node (a mobility, a model, a whole study) and uses the database alone; no file is read
unless frames themselves are asked for. `docs/questions.md` shows them at work.
"""

from __future__ import annotations

from collections import defaultdict
from math import fsum

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, CalcJobNode, Dict, Node, ProcessNode, QueryBuilder, WorkflowNode

from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData

_VASP, _TRAIN = "LeopoldVaspCalculation", "TrainCalculation"
_LABELS, _LABEL = "LabelFramesWorkChain", "LabelWorkChain"
DATA_LINKS = (LinkType.INPUT_CALC.value, LinkType.CREATE.value)
MOST_VALUES = 5000  # in one condition of a query


def vasp_runs(node: Node) -> list[CalcJobNode]:
    """Every VASP run whose results `node` (a mobility, a model, frames) was made from, oldest first."""
    return _ancestors(node, CalcJobNode, _VASP)


def trainings(node: Node) -> list[CalcJobNode]:
    """Every training behind `node`, oldest first; the last one made the model in use."""
    return _ancestors(node, CalcJobNode, _TRAIN)


def training_frames(model: ModelData) -> FrameSetData:
    """The frames `model` was trained on, by the training that made it."""
    if model.creator is None or model.creator.process_label != _TRAIN:
        raise ValueError(f"model {model.pk} was not made by a training here (imported?): its frames are not known")
    return model.creator.inputs.frames


def errors_by_round(study: WorkflowNode) -> list[dict]:
    """Errors of every round of learning in `study` (leopold.dynamics or leopold.learn), first round first."""
    return _one_output(study, "learning_curve")["rounds"] if "learning_curve" in study.outputs else []


def failed_labels(study: WorkflowNode) -> list[dict]:
    """Every label of `study` that was not verified: `round`, `frame` (id), `outcome` and the numbers behind it."""
    if "label_outcomes" not in study.outputs:
        return []
    return [
        {"round": record["round"], "frame": frame, **label}
        for record in _one_output(study, "label_outcomes")["rounds"]
        for frame, label in record["labels"].items()
        if label["outcome"] != "verified"
    ]


def labelled_hops(study: WorkflowNode) -> list[tuple[Frame, Frame]]:
    """Pairs (frame as the model had it, its verified label) of every hop frame that went to VASP, matched by id."""
    if "selected" not in study.outputs or "labels" not in study.outputs:
        return []
    asked = {frame.id: frame for frame in study.outputs.selected.get_frames()}
    first: dict[str, Frame] = {}  # of a relaxation only its first step is where the model had it
    for label in study.outputs.labels.get_frames():
        first.setdefault(label.label, label)
    return [(asked[name], label) for name, label in first.items()]


def studies_with_model(model: ModelData) -> list[ProcessNode]:
    """Every WorkChain that returned `model` or used it, oldest first."""
    query = QueryBuilder()
    query.append(ModelData, filters={"uuid": model.uuid}, tag="model")
    query.append(WorkflowNode, with_outgoing="model", project="*", tag="made")
    made = query.all(flat=True)
    query = QueryBuilder()
    query.append(ModelData, filters={"uuid": model.uuid}, tag="model")
    query.append(WorkflowNode, with_incoming="model", project="*")
    return sorted({n.pk: n for n in made + query.all(flat=True)}.values(), key=lambda n: n.ctime)


def node_hours_by_pathway(study: WorkflowNode) -> dict[str, float]:
    """Node-hours of the labels below `study`, by the class of the hop that each frame is from, the dearest first; under
    "" those of no hop, as frames from before a guard stopped dynamics are."""
    spent: dict[str, float] = defaultdict(float)
    for fan_out in (n for n in study.called_descendants if n.process_label == _LABELS):
        pathway = {frame.id: frame.pathway for frame in fan_out.inputs.frames.get_frames()}
        for label in fan_out.called:
            if label.process_label == _LABEL:
                spent[pathway[label.inputs.frame.value]] += node_hours(label)
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def node_hours(study: WorkflowNode) -> float:
    """Node-hours of all jobs below `study`: machines times wall time as the scheduler last told it, or else the time
    from submission to the end. What came from the cache cost nothing."""
    jobs = [n for n in study.called_descendants if isinstance(n, CalcJobNode)]
    ran = [job for job in jobs if not job.base.caching.is_created_from_cache]
    spent = (_wall_seconds(job) * (job.get_option("resources") or {}).get("num_machines", 1) for job in ran)
    return fsum(spent) / 3600  # the same to the last digit, in whichever order a profile has the jobs


def _wall_seconds(job: CalcJobNode) -> float:
    told = job.get_last_job_info()
    seconds = told.wallclock_time_seconds if told else None
    return seconds if seconds is not None else (job.mtime - job.ctime).total_seconds()


def functions_between(node: Node) -> list[CalcFunctionNode]:
    """Every calcfunction behind `node`, oldest first: what was done to the data between the jobs."""
    return _ancestors(node, CalcFunctionNode)


def made_with(node: Node) -> list[ProcessNode]:
    """Every calculation downstream of `node`, oldest first: what a VASP run, frames or a model went into."""
    return _connected(node, ProcessNode, None, "with_incoming")


def made_by(node: Node) -> list[ProcessNode]:
    """Every calculation upstream of `node`, oldest first: all that stands behind it."""
    return _ancestors(node, ProcessNode)


def _ancestors(node: Node, kind: type[ProcessNode], label: str | None = None) -> list:
    """Processes upstream of `node`."""
    return _connected(node, kind, label, "with_outgoing")


def _connected(node: Node, kind: type[ProcessNode], label: str | None, relation: str) -> list:
    """Processes on one side of `node` along data provenance (inputs and what created them), without itself.

    Node by node, each once: AiiDA's own `with_descendants` follows every path, and data that part and are merged again,
    round after round, make more paths than can be followed.
    """
    seen: set[int] = set()
    level = {node.pk}
    while level:
        query = QueryBuilder().append(Node, filters={"id": {"in": list(level)}}, tag="node")
        query.append(Node, edge_filters={"type": {"in": DATA_LINKS}}, project="id", **{relation: "node"})
        level = set(query.all(flat=True)) - seen
        seen |= level
    found: list = []
    every = sorted(seen)
    for k in range(0, len(every), MOST_VALUES):
        filters = {"id": {"in": every[k : k + MOST_VALUES]}} | ({"attributes.process_label": label} if label else {})
        found += QueryBuilder().append(kind, filters=filters, project="*").all(flat=True)
    # not by id, which an import into another profile gives anew
    return sorted(found, key=lambda process: process.ctime)


def _one_output(study: WorkflowNode, name: str) -> Dict:
    return study.outputs[name]
