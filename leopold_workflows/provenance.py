"""The provenance of a study as one readable picture: which kind of step made which data, and how often.

A study has hundreds of nodes; `verdi node graph generate` draws each one. Here nodes of one kind within one stage are
drawn as one box with a count, so that the way from the VASP runs to the mobility can be followed by eye.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, CalcJobNode, ProcessNode, WorkflowNode

Key = tuple[str, int]  # (name of the kind, round or 0)


def collapsed_graph(process: ProcessNode) -> tuple[Counter, Counter]:
    """Boxes and arrows below `process`: counts of calculations per kind and round, of data passed between kinds."""
    boxes: Counter = Counter()
    arrows: Counter = Counter()
    creator: dict[int, Key] = {}
    calculations = []
    for node, round_ in _calculations(process, 0):
        key = (node.process_label, round_)
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


def _calculations(node: WorkflowNode, round_: int):
    """Every calculation called below `node`, in order of creation, with the learning round it belongs to."""
    rounds = 0
    for child in sorted(node.called, key=lambda n: n.pk):
        if isinstance(child, CalcJobNode | CalcFunctionNode):
            yield child, round_ or rounds
        else:
            if child.process_label == "TrainBaseWorkChain" and node.process_label == "LearnWorkChain":
                rounds += 1
            yield from _calculations(child, round_ or rounds)


def draw(process: ProcessNode, path: Path) -> None:
    """Write the collapsed graph of `process` to `path` (any suffix matplotlib knows)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    boxes, arrows = collapsed_graph(process)
    columns: dict[int, list[Key]] = {}
    for key in boxes:
        columns.setdefault(key[1], []).append(key)
    order = sorted(columns)
    place = {key: (x, -y) for x, c in enumerate(order) for y, key in enumerate(columns[c])}
    height = max((len(c) for c in columns.values()), default=1)
    figure, axes = plt.subplots(figsize=(max(5.0, 3.6 * len(order)), max(2.5, 0.75 * height + 1)))
    for (source, target), count in arrows.items():
        (x0, y0), (x1, y1) = place[source], place[target]
        bend = 0.25 if x0 == x1 else 0.08
        axes.annotate(
            "", xy=(x1 - (0.36 if x1 > x0 else 0), y1 + (0.2 if x0 == x1 else 0)),
            xytext=(x0 + (0.36 if x1 > x0 else 0), y0 - (0.2 if x0 == x1 else 0)),
            arrowprops={"arrowstyle": "-|>", "color": "0.55", "lw": 0.6 + 0.25 * min(count, 12) ** 0.5,
                        "connectionstyle": f"arc3,rad={bend}"},
        )  # fmt: skip
    for key, (x, y) in place.items():
        vasp = "Vasp" in key[0]
        colour = "#9ecae1" if vasp else "#fdd0a2" if key[0].endswith("Calculation") else "#e5e5e5"
        axes.text(
            x, y, f"{key[0]}  ×{boxes[key]}", ha="center", va="center", fontsize=8,
            bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "0.4"},
        )  # fmt: skip
    for x, column in enumerate(order):
        axes.text(x, 0.75, "seed" if column == 0 else f"round {column}", ha="center", weight="bold", fontsize=9)
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylim(-height + 0.2, 1.1)
    axes.axis("off")
    axes.set_title(f"{process.process_label} {process.pk}: blue VASP, orange leopold, grey functions", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=160)
    plt.close(figure)
