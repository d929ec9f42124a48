"""Wheel and source archive: whole, described for AiiDA's plugin registry, and working outside the source tree."""

import json
import os
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import version

import pytest

from tests.distribution import ROOT, build, install, run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def outside(wheel, tmp_path_factory):
    """`outside(program, *arguments)` of the installed wheel, in an empty folder."""
    folder = tmp_path_factory.mktemp("user")
    binaries = install(wheel, folder / "env")
    (folder / "work").mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["AIIDA_PATH"] = str(folder / "aiida")

    def call(program, *arguments):
        return run(binaries / program, *arguments, cwd=folder / "work", env=environment)

    return call


def tracked(*folders: str) -> set[str]:
    """Files below these folders that belong to the project."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", "reference"} & set(path.parts)
    }


def test_the_wheel_holds_both_packages_with_their_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name for name in names if ".dist-info/" not in name}
    assert packages == tracked("leopold_model", "leopold_workflows")
    assert sum(name.endswith(".yaml") for name in packages) > 20


def test_the_source_archive_holds_what_the_readme_points_to(wheel):
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    assert tracked("leopold_model", "leopold_workflows", "docs", "examples", "tests", "benchmarks") <= names
    files = {"README.md", "workchains.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "Makefile"}
    assert files | {"pyproject.toml", "requirements.lock", "constraints.txt"} <= names


def test_what_a_registry_reads_of_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())
    assert told["Name"] == "aiida-leopold" and told["License-Expression"] == "MIT"
    assert told["Summary"] and told["Author"]
    assert {"Framework :: AiiDA", "Development Status :: 3 - Alpha"} <= set(told.get_all("Classifier"))
    assert any(line.startswith("aiida-core") for line in told.get_all("Requires-Dist"))
    assert told["Description-Content-Type"] == "text/markdown" and told.get_all("Project-URL")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {told['Version']}" in changelog
    assert f"version: {told['Version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_installed_wheel_works_outside_the_source_tree(outside):
    where = "import leopold_model, leopold_workflows; print(leopold_model.__file__, leopold_workflows.__file__)"
    assert str(ROOT) not in outside("python", "-c", where)
    assert outside("leopold", "--version").strip().endswith(version("aiida-leopold"))
    assert json.loads(outside("leopold", "patterns", "lattice", "tio2_110", "--json"))["name"]
    protocols = (
        "from leopold_workflows.protocols import material, protocol, FOLDER\n"
        "print(*(material(p.stem)['name'] for p in sorted((FOLDER / 'materials').glob('*.yaml'))), sep='\\n')\n"
        "[protocol(p.stem) for p in FOLDER.glob('*.yaml')]"
    )
    assert "MgO with a hole" in outside("python", "-W", "ignore", "-c", protocols)
