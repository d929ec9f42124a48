"""The demo as a user has it: the installed wheel, the daemon, Ctrl-C in the middle, the same command, the report."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.distribution import build, install
from tests.e2e.tiny import TINY

MINUTES = 10
# one round and one instalment are enough here; `test_dynamics` sees a second one of each
FASTER = {
    **TINY,
    "fpmd": {"steps": 400, "segment_steps": 200},
    "learn": {**TINY["learn"], "max_rounds": 1},
    "transport": {**TINY["transport"], "min_hops": 1, "max_steps": 500},
}


@pytest.fixture(scope="module")
def binaries(tmp_path_factory):
    """Those of the wheel, installed apart from the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    return install(build(folder), folder / "env")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, binaries):
    """Where the demo runs; its daemon is stopped whatever happened."""
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    home = folder / "demo" / ".aiida"
    if list(home.glob("daemon/*.pid")):  # stopping one that is not there waits out the time-out
        environment = {**os.environ, "AIIDA_PATH": str(home)}
        subprocess.run([binaries / "verdi", "daemon", "stop"], env=environment, capture_output=True, timeout=120)


def start(folder: Path, binaries: Path):
    """The demo as a process of its own; its output so far is in the file returned with it."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(FASTER))
    log = folder / "log.txt"
    environment = {k: v for k, v in os.environ.items() if k != "AIIDA_PATH"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(folder / "jax")  # rounds of equal shapes compile once
    with open(log, "w") as output:
        demo = subprocess.Popen(
            [binaries / "aiida-leopold", "demo", "mgo", "--workers", "1", "--overrides", "tiny.yaml"],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment,
            # tests started in the background ignore Ctrl-C, and what they start would too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    return demo, log


def wait(demo, log, words: str | None = None) -> str:
    """Until `words` are printed, or the demo ends."""
    deadline = time.monotonic() + 60 * MINUTES
    while time.monotonic() < deadline:
        text = log.read_text()
        if words and words in text:
            return text
        if demo.poll() is not None:
            assert words is None, f"ended with {demo.returncode} before {words!r}:\n{text[-3000:]}"
            return text
        time.sleep(0.5)
    demo.kill()
    raise AssertionError(f"not done after {MINUTES} min:\n{log.read_text()[-3000:]}")


def test_interrupted_and_started_again_it_ends_with_a_report(folder, binaries):
    demo, log = start(folder, binaries)
    wait(demo, log, "first-principles molecular dynamics")
    demo.send_signal(signal.SIGINT)
    assert "run the same command to go on" in wait(demo, log)
    assert demo.returncode == 130
    # stopped between storing a process and queueing it, a daemon leaves one without a task; here for certain
    tasks = sorted((folder / "demo" / ".aiida").glob("broker/*/storage/tasks/*/*.json"))
    tasks[-1].unlink()

    demo, log = start(folder, binaries)
    text = wait(demo, log)
    assert "going on with process" in text
    assert demo.returncode in (0, 1), text[-3000:]
    summary = json.loads((folder / "demo" / "mgo" / "summary.json").read_text())
    assert summary["state"].startswith("Finished")
    assert summary["exit_status"] in (0, 601, 602, 603)
    assert (demo.returncode == 0) == (summary["exit_status"] == 0)
    assert summary["rounds"] == len(summary["errors"]) >= 1
    assert sum(summary["labels"].values()) >= 3
    assert {"name", "hops", "verified_labels"} <= set(summary["pathways"][0])
    assert summary["wall_time_s"] > 0 and summary["pk"] > 0
    made = {path.name for path in (folder / "demo" / "mgo").iterdir()}
    assert {"report.md", "report.html", "provenance.png", "learning_curve.png", "pathways.csv", "model.leopold"} <= made
