"""An AiiDA profile inside a folder: SQLite and the ZeroMQ broker, no service, nothing outside the folder.

`use(folder)` must run before anything imports aiida, which reads its configuration path once.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROFILE = "leopold"
# On one machine with a loaded processor: the client must wait longer than 2 s for the daemon, and failed transport
# tasks need not wait 20 s before the first retry. A relaunch with the same inputs then finds its calculations cached.
OPTIONS = {
    "daemon.timeout": "60",
    "transport.task_retry_initial_interval": "2",
    "caching.enabled_for": "aiida.calculations:leopold.*",
    "warnings.showdeprecations": "False",
}


class EmbeddedProfileError(RuntimeError):
    """The profile or its daemon could not be set up; the message holds what verdi printed."""


def use(folder: Path, say: Callable[[str], None]) -> None:
    """Load the profile inside `folder`, creating it and the two codes on first use."""
    binaries = Path(sys.executable).parent
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["AIIDA_PATH"] = str(folder.resolve())
    os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    if PROFILE not in verdi("profile", "list"):
        say("creating an AiiDA profile inside the project folder (SQLite, ZeroMQ broker)")
        verdi("presto", "--use-zeromq", "--profile-name", PROFILE, "--email", "demo@localhost")
        for name, value in OPTIONS.items():
            verdi("config", "set", name, value)
        # a study commits some hundred times per label; write-ahead logging makes each commit about three times cheaper
        for database in folder.rglob("database.sqlite"):
            with sqlite3.connect(database) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    from aiida import load_profile

    load_profile(PROFILE)
    from aiida.orm import load_computer

    computer = load_computer("localhost")
    computer.set_minimum_job_poll_interval(0.5)


def verdi(*arguments: str) -> str:
    """Standard output of a verdi command run on the embedded profile."""
    run = subprocess.run(
        [str(Path(sys.executable).parent / "verdi"), *arguments], capture_output=True, text=True, timeout=300
    )
    if run.returncode:
        raise EmbeddedProfileError(f"verdi {' '.join(arguments)} failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.stdout


def start_daemon(workers: int) -> None:
    """Start the daemon in a process group of its own, so that Ctrl-C reaches the demo and not the workers."""
    from aiida.engine.daemon.client import get_daemon_client

    client = get_daemon_client()
    if not client.is_daemon_running:
        # a daemon that was stopped between storing a process and queueing it leaves one that nobody would ever run
        verdi("process", "repair")
        client.start_daemon(number_workers=workers)


def stop_daemon() -> None:
    """Stop the daemon; running processes keep their checkpoints and go on at the next start."""
    from aiida.engine.daemon.client import get_daemon_client

    client = get_daemon_client()
    if client.is_daemon_running:
        client.stop_daemon(wait=True, timeout=60)


def codes() -> tuple:
    """The two codes, registered on first use: the VASP stand-in and the `leopold` command of this environment."""
    from aiida.common.exceptions import NotExistent
    from aiida.orm import InstalledCode, load_code, load_computer

    wanted = {
        "vasp-standin": ("leopold-vasp-standin", "leopold.vasp"),
        "leopold": ("leopold", "leopold.train"),
    }
    found = []
    for label, (executable, plugin) in wanted.items():
        try:
            found.append(load_code(f"{label}@localhost"))
        except NotExistent:
            code = InstalledCode(
                label=label,
                computer=load_computer("localhost"),
                filepath_executable=str(Path(sys.executable).parent / executable),
                default_calc_job_plugin=plugin,
                with_mpi=False,
                # one thread per stand-in: several run side by side; training takes what it is given
                prepend_text="export OMP_NUM_THREADS=1" if label == "vasp-standin" else "",
            )
            found.append(code.store())
    return tuple(found)
