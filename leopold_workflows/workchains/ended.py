"""How a process that another one waited for came to its end, in words."""

from __future__ import annotations

from aiida.orm import ProcessNode


def reason(node: ProcessNode) -> str:
    """Its exit message; of one that never came to an exit status, what ended it."""
    if node.is_excepted:
        return f"excepted: {node.exception}"
    if node.is_killed:
        return "killed"
    return node.exit_message or ""
