"""The reference is made of docstrings: every public module, class and function has one, and pdoc builds them."""

import ast
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("leopold_model", "leopold_workflows") for path in (ROOT / package).rglob("*.py"))


def undocumented(path: Path) -> list[str]:
    """Public names of a module without a docstring; overridden methods have that of their base."""
    tree = ast.parse(path.read_text())
    found = [] if ast.get_docstring(tree) or not tree.body else [path.stem]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found += [] if ast.get_docstring(node) else [node.name]
    return found


def test_every_public_name_is_documented():
    missing = {str(path.relative_to(ROOT)): names for path in MODULES if (names := undocumented(path))}
    assert missing == {}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pdoc") is None, reason="needs pdoc: pip install 'aiida-leopold[docs]'")
def test_the_reference_is_built(tmp_path):
    command = [sys.executable, "-m", "pdoc", "--output-directory", str(tmp_path), "leopold_model", "leopold_workflows"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {str(page.relative_to(tmp_path).with_suffix("")) for page in tmp_path.rglob("*.html")} - {"index"}
    expected = {str(path.relative_to(ROOT).with_suffix("")).removesuffix("/__init__") for path in MODULES}
    assert pages == {name for name in expected if not name.endswith("__main__")}
    shutil.rmtree(tmp_path)
