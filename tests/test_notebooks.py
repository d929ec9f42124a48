"""The notebooks: stored as they ran, and (`pytest -m slow`) run again from the first cell to the last."""

import ast
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
ORDER = ("hops.ipynb", "calculator.ipynb")  # the second reads what the first wrote


def cells(name):
    return [cell for cell in nbformat.read(FOLDER / name, 4).cells if cell.cell_type == "code"]


def test_every_notebook_is_run():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_it_is_stored_as_it_ran(name):
    assert [cell.execution_count for cell in cells(name)] == list(range(1, len(cells(name)) + 1))
    outputs = [output for cell in cells(name) for output in cell.outputs]
    assert outputs and all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs), "a warning tells a reader nothing"
    text = (FOLDER / name).read_text()
    assert str(Path.home()) not in text and "/tmp/" not in text and len(text) < 300_000


@pytest.mark.parametrize("name", ORDER)
def test_what_it_imports_is_there(name):
    for cell in cells(name):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("leopold_model"):
                module = find_spec(node.module)
                defined = ast.walk(ast.parse(Path(module.origin).read_text()))
                names = {n.name for n in defined if isinstance(n, ast.FunctionDef | ast.ClassDef)}
                for alias in node.names:
                    assert alias.name in names or find_spec(f"{node.module}.{alias.name}"), (
                        f"{node.module}.{alias.name}"
                    )


@pytest.mark.slow
def test_they_run_from_the_first_cell_to_the_last(tmp_path, monkeypatch):
    """One after the other in one folder, as they say."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ORDER:
        notebook = nbformat.read(FOLDER / name, 4)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        kinds = [[o.output_type for o in cell.outputs] for cell in code]
        assert kinds == [[o.output_type for o in cell.outputs] for cell in cells(name)], f"{name} prints otherwise now"
