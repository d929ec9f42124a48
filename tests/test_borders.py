"""The border between the two packages, proved in fresh interpreters: one never imports aiida, the other never jax."""

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile

import pytest

LIGHT = (
    "frames", "frame_tracks", "config", "tracks", "barrier", "barrier_frames", "barrier_report", "figures", "plots",
    "structures", "analysis", "vasp", "standin", "cli",
)  # fmt: skip


def modules(package: str) -> list[str]:
    found = importlib.import_module(package)
    names = [info.name for info in pkgutil.walk_packages(found.__path__, package + ".")]
    return [name for name in names if not name.endswith("__main__")]


def imported(names: list[str], forbidden: str) -> str:
    """Which of `forbidden` (comma separated) end up in sys.modules after importing `names` in a new interpreter."""
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([m for m in {forbidden.split(',')!r} if m in sys.modules])"
    )
    # importing aiida makes its configuration folder: it must not be the user's
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-c", code]
        environment = {**os.environ, "AIIDA_PATH": folder}
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


def test_model_side_never_imports_aiida():
    assert imported(modules("leopold_model"), "aiida,aiida_vasp,leopold_workflows") == "[]"


def test_workflow_side_never_imports_jax():
    assert imported(modules("leopold_workflows"), "jax,flax,optax,e3nn_jax") == "[]"


@pytest.mark.parametrize("part", LIGHT)
def test_light_modules_import_no_jax(part):
    name = f"leopold_model.{part}"
    names = [m for m in modules("leopold_model") if m == name or m.startswith(name + ".")]
    assert names
    assert imported(names, "jax,flax,optax,aiida") == "[]"


def test_of_the_patterns_only_learning_imports_jax():
    names = [m for m in modules("leopold_model") if m.startswith("leopold_model.patterns.")]
    light = [m for m in names if not m.endswith((".training", ".fitting", ".learning"))]
    assert len(light) == len(names) - 3
    assert imported(light, "jax,flax,optax,aiida") == "[]"
