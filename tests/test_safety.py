"""What the packages never call: nothing here runs what a file or a name says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("leopold_model", "leopold_workflows") for path in (ROOT / package).rglob("*.py"))
# calls that run what they are given, and the arguments without which others do not
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "torch.load", "joblib.load", "shelve.open",
    "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "jsonpickle.decode", "pandas.read_pickle",
    "pd.read_pickle", "subprocess.getoutput", "tempfile.mktemp",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    """`a.b.c` of an attribute or a name, '' of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "dill", "cloudpickle", "shelve"):
            found.append(f"line {node.lineno}: from {node.module} import")
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node.func), {word.arg: word.value for word in node.keywords}
        if name in FORBIDDEN:
            found.append(f"line {node.lineno}: {name}")
        for argument in ("shell", "allow_pickle"):
            value = given.get(argument)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                found.append(f"line {node.lineno}: {argument}")
        if name in ("np.load", "numpy.load") and "allow_pickle" not in given:
            found.append(f"line {node.lineno}: {name} without allow_pickle=False")
    return found


def test_nothing_is_run_that_a_file_says():
    found = {str(path.relative_to(ROOT)): faults(path.read_text()) for path in SOURCES}
    assert len(found) > 200 and {path: said for path, said in found.items() if said} == {}


def test_an_unpickler_looks_up_no_name_that_is_not_listed():
    """The one subclass that reads published models: every name goes through its table."""
    users = [path.name for path in SOURCES if "import pickle\n" in path.read_text()]
    assert users == ["published_pickle.py"]
    tree = ast.parse((ROOT / "leopold_model" / "published_pickle.py").read_text())
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    (reader,) = (c for c in classes if [name_of(base) for base in c.bases] == ["pickle.Unpickler"])
    (lookup,) = (n for n in reader.body if isinstance(n, ast.FunctionDef))
    assert lookup.name == "find_class"
    assert not [n for n in ast.walk(lookup) if isinstance(n, ast.Call) and "super" in ast.dump(n)]


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')", "import pickle\npickle.loads(b'')", "from pickle import load", "np.load(f)", "yaml.load(f)",
        "np.load(f, allow_pickle=True)", "subprocess.run('a', shell=True)", "torch.load(f)", "os.system('a')",
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(code):
    assert faults(code)
