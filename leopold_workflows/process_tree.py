"""The processes of a study as plain rows, one query per level of the tree: a study has hundreds, and who watches it
asks every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiida.common.links import LinkType
from aiida.orm import Data, ProcessNode, QueryBuilder

CALLS = (LinkType.CALL_CALC.value, LinkType.CALL_WORK.value)
COLUMNS = ("id", "node_type", "attributes.process_label", "attributes.process_state", "attributes.exit_status")
ENDED = ("finished", "excepted", "killed")


@dataclass(frozen=True)
class Process:
    """A process as it was when asked: `link` is the label its caller gave it."""

    pk: int
    node_type: str
    label: str
    state: str | None
    exit_status: int | None
    link: str = ""

    @property
    def is_terminated(self) -> bool:
        return self.state in ENDED

    @property
    def is_finished(self) -> bool:
        return self.state == "finished"

    @property
    def is_finished_ok(self) -> bool:
        return self.is_finished and self.exit_status == 0

    @property
    def is_job(self) -> bool:
        return self.node_type.startswith("process.calculation.calcjob.")


def descendants(process: ProcessNode) -> list[Process]:
    """All that `process` called, level by level, in the order of their creation."""
    found: dict[int, Process] = {}
    level = [process.pk]
    while level:
        query = QueryBuilder().append(ProcessNode, filters={"id": {"in": level}}, tag="caller")
        query.append(
            ProcessNode, with_incoming="caller", edge_filters={"type": {"in": CALLS}}, project=COLUMNS,
            edge_project=["label"], tag="called",
        )  # fmt: skip
        query.order_by({"called": {"ctime": "asc"}})
        called = {row[0]: Process(*row) for row in query.all()}
        found |= called
        level = list(called)
    return list(found.values())


def outputs(processes: Sequence[Process], kind: type[Data], project: str, label: str | None = None) -> list:
    """`project` of every output of a `kind` that these made, under that link `label` if one is given, oldest first."""
    return _linked(processes, kind, project, label, "with_incoming")


def inputs(processes: Sequence[Process], kind: type[Data], project: str, label: str | None = None) -> list:
    """`project` of every input of a `kind` that these were given, likewise."""
    return _linked(processes, kind, project, label, "with_outgoing")


def _linked(processes: Sequence[Process], kind: type[Data], project: str, label: str | None, relation: str) -> list:
    if not processes:
        return []
    query = QueryBuilder().append(ProcessNode, filters={"id": {"in": [p.pk for p in processes]}}, tag="process")
    edge = {"edge_filters": {"label": label}} if label else {}
    query.append(kind, project=[project], tag="data", **{relation: "process"}, **edge)
    return query.order_by({"data": {"ctime": "asc"}}).all(flat=True)
