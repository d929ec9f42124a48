"""Processes that one called, in the order of their creation; `called` of a node has none."""

from aiida.orm import ProcessNode


def called(node: ProcessNode, label: str) -> list[ProcessNode]:
    """Those with this process label."""
    return sorted((n for n in node.called if n.process_label == label), key=lambda n: n.ctime)
