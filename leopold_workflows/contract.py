"""The tables of `workchains.md`, made from the process specs: `python -m leopold_workflows.contract` writes them anew.

Each process has a section `## <entry point>` in that file. Its prose is written by hand; what stands between the two
marker comments is written here, and a test fails when the two differ.
"""

from __future__ import annotations

import re
from pathlib import Path

from aiida.plugins import CalculationFactory, WorkflowFactory
from plumpy.ports import PortNamespace

# in reading order; aiida's own inherited metadata ports are left out of the tables
PROCESSES = (
    "leopold.dynamics", "leopold.seed", "leopold.seed.configurations", "leopold.fpmd", "leopold.learn",
    "leopold.train.base", "leopold.md.base", "leopold.explore", "leopold.label.frames", "leopold.label",
    "leopold.transport", "leopold.barrier", "leopold.localise",
    "leopold.patterns", "leopold.patterns.learn", "leopold.patterns.label", "leopold.patterns.surface",
    "leopold.patterns.train.base", "leopold.patterns.suggest.base", "leopold.patterns.anneal.base",
    "leopold.vasp", "leopold.train", "leopold.md", "leopold.evaluate", "leopold.barrier.learned",
    "leopold.patterns.train", "leopold.patterns.suggest", "leopold.patterns.anneal",
)  # fmt: skip
_JOBS = PROCESSES[PROCESSES.index("leopold.vasp") :]
_INHERITED = ("metadata", "monitors", "remote_folder", "remote_stash", "retrieved")
_BEGIN, _END = "<!-- ports of {} -->", "<!-- end of ports -->"


def process_class(entry_point: str):
    """The process behind an entry point name."""
    factory = CalculationFactory if entry_point in _JOBS else WorkflowFactory
    return factory(entry_point)


def tables(entry_point: str) -> str:
    """Inputs, outputs and exit codes of one process as Markdown."""
    spec = process_class(entry_point).spec()
    parts = []
    for title, namespace in (("Inputs", spec.inputs), ("Outputs", spec.outputs)):
        rows = list(_rows(namespace))
        if rows:
            parts.append(f"| {title[:-1].lower()} | type | required | |\n|---|---|---|---|\n" + "\n".join(rows))
    codes = [
        f"| {code.status} | `{name}` | {_cell(code.message)} |"
        for name, code in sorted(spec.exit_codes.items(), key=lambda item: item[1].status)
        if code.status >= 200
    ]
    if codes:
        parts.append("| exit | name | meaning |\n|---|---|---|\n" + "\n".join(codes))
    return "\n\n".join(parts)


def _rows(namespace: PortNamespace, prefix: str = ""):
    for name, port in sorted(namespace.items()):
        if not prefix and name in _INHERITED:
            continue
        if isinstance(port, PortNamespace):
            if name in _INHERITED:
                continue
            if port.dynamic or not port:
                yield f"| `{prefix}{name}` | namespace | {'yes' if port.required else ''} | {_cell(port.help)} |"
            yield from _rows(port, f"{prefix}{name}.")
            continue
        kinds = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
        kinds = ", ".join(kind.__name__ for kind in kinds if kind is not None and kind is not type(None))
        yield f"| `{prefix}{name}` | {kinds} | {'yes' if port.required else ''} | {_cell(port.help)} |"


def _cell(text: str | None) -> str:
    return re.sub(r"\s+", " ", str(text or "")).strip().replace("|", "\\|")


def refreshed(text: str) -> str:
    """The Markdown `text` with the tables of every process written anew."""
    for name in PROCESSES:
        begin = _BEGIN.format(name)
        if begin not in text:
            raise ValueError(f"workchains.md has no line {begin!r}: add the section of {name}")
        head, rest = text.split(begin, 1)
        _, tail = rest.split(_END, 1)
        text = f"{head}{begin}\n{tables(name)}\n{_END}{tail}"
    return text


if __name__ == "__main__":
    path = Path(__file__).resolve().parent.parent / "workchains.md"
    path.write_text(refreshed(path.read_text()))
