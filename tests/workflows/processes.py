"""Processes that WorkChains of the tests wait for, and WorkChains that submit none."""

from types import SimpleNamespace

from aiida.common import AttributeDict
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager


def node(status=0, **outputs):
    return SimpleNamespace(
        pk=1, is_finished_ok=status == 0, is_failed=status != 0, is_excepted=False, is_killed=False,
        exit_status=status, exit_message="because", outputs=AttributeDict(outputs), inputs=AttributeDict(),
    )  # fmt: skip


def start(builder):
    """The process of `builder`, set up, with `calls` in place of submissions."""
    process = instantiate_process(get_manager().get_runner(), builder)
    process.calls = []
    process.submit = lambda cls, **inputs: process.calls.append((cls.__name__, inputs)) or node()
    process.to_context = lambda **nodes: process.ctx.update(nodes)
    if hasattr(process, "setup"):
        process.setup()
    return process
