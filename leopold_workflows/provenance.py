"""The provenance of a study as one readable picture: which kind of step made which data, and how often.

A study has hundreds of nodes; `verdi node graph generate` draws each one. Here nodes of one kind within one stage are
drawn as one box with a count, so that the way from the VASP runs to the mobility can be followed by eye.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, CalcJobNode, ProcessNode, WorkflowNode

Key = tuple[str, str]  # (name of the kind, stage)

# the stage that a WorkChain begins; learning goes on to further rounds
STAGES = {
    "SeedConfigurationsWorkChain": "seed",
    "SeedWorkChain": "seed",
    "LearnWorkChain": "round 1",
    "TransportWorkChain": "production",
}


def collapsed_graph(process: ProcessNode) -> tuple[Counter, Counter]:
    """Boxes and arrows below `process`: counts of calculations per kind and stage, of data passed between kinds.

    Boxes are keyed by (kind, stage), stages in the order in which they began; arrows by (source box, target box).
    """
    boxes: Counter = Counter()
    arrows: Counter = Counter()
    creator: dict[int, Key] = {}
    calculations = []
    for node, stage in _calculations(process):
        key = (node.process_label, stage)
        boxes[key] += 1
        calculations.append((node, key))
        for link in node.base.links.get_outgoing(link_type=LinkType.CREATE).all():
            creator[link.node.pk] = key
    for node, key in calculations:
        for link in node.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all():
            source = creator.get(link.node.pk)
            if source is not None and source != key:
                arrows[source, key] += 1
    return boxes, arrows


def _calculations(node: WorkflowNode, stage: str = ""):
    """Every calculation called below `node`, in order of creation, with the stage it belongs to."""
    stage = STAGES.get(node.process_label, stage)
    calls = node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()
    for call in sorted(calls, key=lambda link: link.node.pk):
        # what learning submits is labelled by its round; counting trainings would miss rounds that needed none
        if found := re.match(r"round_0*(\d+)_", call.link_label):
            stage = f"round {found[1]}"
        if isinstance(call.node, CalcJobNode | CalcFunctionNode):
            yield call.node, stage
        else:
            yield from _calculations(call.node, stage)


def draw(process: ProcessNode, path: Path) -> None:
    """Write the collapsed graph of `process` to `path` (any suffix matplotlib knows)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    boxes, arrows = collapsed_graph(process)
    columns: dict[str, list[Key]] = {}
    for key in boxes:
        columns.setdefault(key[1], []).append(key)
    place = {key: (x, -y) for x, column in enumerate(columns.values()) for y, key in enumerate(column)}
    height = max((len(c) for c in columns.values()), default=1)
    figure, axes = plt.subplots(figsize=(max(5.0, 3.6 * len(columns)), max(2.5, 0.75 * height + 1)))
    drawn = {}
    for key, (x, y) in place.items():
        vasp = "Vasp" in key[0]
        colour = "#9ecae1" if vasp else "#fdd0a2" if key[0].endswith("Calculation") else "#e5e5e5"
        drawn[key] = axes.text(
            x, y, f"{key[0]}  ×{boxes[key]}", ha="center", va="center", fontsize=8, zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "0.4"},
        )  # fmt: skip
    for x, stage in enumerate(columns):
        axes.text(x, 0.75, stage, ha="center", weight="bold", fontsize=9)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_ylim(-height + 0.2, 1.1)
    axes.axis("off")
    axes.set_title(f"{process.process_label} {process.pk}: blue VASP, orange leopold, grey functions", fontsize=9)
    figure.tight_layout()
    figure.canvas.draw()  # boxes get their sizes when drawn, and arrows end at them
    for (source, target), count in arrows.items():
        bend = 0.25 if source[1] == target[1] else 0.08
        axes.annotate(
            "", xy=place[target], xytext=place[source], zorder=1,
            arrowprops={"arrowstyle": "-|>", "color": "0.55", "lw": 0.6 + 0.25 * min(count, 12) ** 0.5,
                        "connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0,
                        "patchA": drawn[source].get_bbox_patch(), "patchB": drawn[target].get_bbox_patch()},
        )  # fmt: skip
    figure.savefig(path, dpi=160)
    plt.close(figure)
