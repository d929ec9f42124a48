"""What `pyproject.toml` promises AiiDA and the shell: each entry point is installed, loads, and `verdi` lists it."""

import tomllib
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from aiida.cmdline.commands.cmd_plugin import plugin_list
from aiida.engine import CalcJob, WorkChain
from aiida.orm import Data
from aiida.parsers import Parser
from aiida.plugins import BaseFactory, CalculationFactory, DataFactory, ParserFactory, WorkflowFactory
from click.testing import CliRunner

MONITORS = "aiida.calculations.monitors"
PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
GROUPS = {
    "aiida.data": (DataFactory, Data),
    "aiida.calculations": (CalculationFactory, CalcJob),
    "aiida.parsers": (ParserFactory, Parser),
    "aiida.workflows": (WorkflowFactory, WorkChain),
    MONITORS: (partial(BaseFactory, MONITORS), None),
}
PLUGINS = [(group, name) for group, points in PROJECT["entry-points"].items() for name in points]


def test_nothing_is_installed_that_is_not_promised():
    """An installation older than pyproject.toml is told here."""
    assert set(PROJECT["entry-points"]) == set(GROUPS)
    installed = {(g, p.name, p.value) for g in GROUPS for p in entry_points(group=g) if p.name.startswith("leopold.")}
    assert installed == {
        (g, name, value) for g, points in PROJECT["entry-points"].items() for name, value in points.items()
    }


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_plugin_loads_through_its_factory(group, name):
    factory, base = GROUPS[group]
    found = factory(name)
    assert callable(found) if base is None else issubclass(found, base)
    assert f"{found.__module__}:{found.__qualname__}" == PROJECT["entry-points"][group][name]


@pytest.mark.parametrize("group", GROUPS)
def test_verdi_lists_the_plugins(group):
    run = CliRunner().invoke(plugin_list, [group])
    assert run.exit_code == 0, run.output
    listed = {line.removeprefix("*").strip() for line in run.output.splitlines()}
    assert {name for g, name in PLUGINS if g == group} <= listed


@pytest.mark.parametrize(
    ("group", "name"), [(g, n) for g, n in PLUGINS if g in ("aiida.calculations", "aiida.workflows")]
)
def test_verdi_shows_the_spec_of_every_process(group, name):
    run = CliRunner().invoke(plugin_list, [group, name])
    assert run.exit_code == 0 and "Inputs:" in run.output, run.output


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_command_is_callable(name):
    (point,) = entry_points(group="console_scripts", name=name)
    assert point.value == PROJECT["scripts"][name] and callable(point.load())
