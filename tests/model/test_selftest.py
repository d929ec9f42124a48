"""The self-test passes here, and names the operation when one is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model import selftest
from leopold_model.cli import main


def test_this_release_is_sound():
    selftest.require_sound_jax.__wrapped__()


def test_a_wrong_sum_is_refused_by_name(monkeypatch):
    right = list(selftest._cases())
    name, found, expected, tolerance = right[0]
    monkeypatch.setattr(selftest, "_cases", lambda: [(name, np.asarray(found) * 0.82, expected, tolerance)])
    with pytest.raises(selftest.UnsoundJax, match=r"jax \d+\.\d+.*matvec -> sum.*pip install"):
        selftest.require_sound_jax.__wrapped__()


def test_a_gpu_that_is_not_there_is_missed_by_name():
    if jax.default_backend() != "cpu":
        pytest.skip("there is one here")
    with pytest.raises(selftest.UnsoundJax, match=r"device = gpu, .* finds only CPUs here: install jax .*device: auto"):
        selftest.require_sound_jax.__wrapped__("gpu")


@pytest.mark.parametrize("verb", ["train", "md", "evaluate"])
def test_every_command_says_so(tmp_path, verb):
    if jax.default_backend() != "cpu":
        pytest.skip("there is one here")
    (tmp_path / "options.yaml").write_text(f"kind: {verb}\ndevice: gpu\n")
    arguments = ["model", "frames", "--device", "gpu"] if verb == "evaluate" else [str(tmp_path / "options.yaml")]
    result = CliRunner().invoke(main, [verb, *arguments])
    assert result.exit_code == 1 and "device = gpu" in result.output


def test_a_platform_of_the_environment_that_is_not_there():
    program = "from leopold_model.selftest import require_sound_jax as r; r()"
    environment = os.environ | {"JAX_PLATFORMS": "rocm"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "UnsoundJax: jax finds no device of the kind asked for" in run.stderr
