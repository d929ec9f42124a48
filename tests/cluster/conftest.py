"""A profile on PostgreSQL and RabbitMQ with computers behind SLURM, made with the commands a user would type."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import services

BIN = Path(sys.executable).parent
WANTED = "LEOPOLD_TEST_CLUSTER"
ONE_THREAD = (
    "export OMP_NUM_THREADS=1\nexport XLA_FLAGS='--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'"
)


def _unable() -> str:
    """Why these tests cannot run here; empty if they can."""
    if not os.environ.get(WANTED):
        return "starts PostgreSQL, RabbitMQ, SLURM and sshd: run `make test-cluster`"
    if os.geteuid() != 0:
        return "SLURM's daemons start jobs as other users: run `make test-cluster` as root"
    if services.missing():
        return (
            f"not installed: {', '.join(services.missing())}; `make test-cluster` installs them from Debian's packages"
        )
    return ""


def pytest_collection_modifyitems(items):
    reason = _unable()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


class Cluster:
    """The services, the profile and its daemon."""

    def __init__(self, found: services.Services):
        self.services = found
        self.environment = found.environment | {
            "AIIDA_PATH": str(found.folder / "aiida"),
            "PATH": f"{BIN}{os.pathsep}{found.environment['PATH']}",
            "PYTHONWARNINGS": "ignore",
        }

    def verdi(self, *arguments: object) -> str:
        command = [str(BIN / "verdi"), *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command[1:])}\n{done.stdout}{done.stderr}"
        return done.stdout

    def profile(self) -> None:
        """PostgreSQL for the data, RabbitMQ for the tasks."""
        s = self.services
        psql = ("psql", "--host=127.0.0.1", f"--port={s.postgres}", "--username=postgres", "--command")
        s.run(*psql, "CREATE USER aiida PASSWORD 'aiida'")
        s.run(*psql, "CREATE DATABASE aiida OWNER aiida TEMPLATE template0 ENCODING 'UTF8'")
        self.verdi(
            "profile", "setup", "core.psql_dos", "--non-interactive", "--profile-name=cluster", "--set-as-default",
            "--email=test@localhost", "--first-name=Test", "--last-name=Cluster", "--institution=none",
            "--database-hostname=127.0.0.1", f"--database-port={s.postgres}", "--database-username=aiida",
            "--database-password=aiida", "--database-name=aiida", f"--repository-uri=file://{s.folder}/repository",
            "--broker=none",
        )  # fmt: skip
        self.verdi(
            "profile", "configure-broker", "core.rabbitmq", "cluster", "--non-interactive", "--force",
            "--broker-protocol=amqp", "--broker-username=guest", "--broker-password=guest",
            "--broker-host=127.0.0.1", f"--broker-port={s.rabbitmq}", "--broker-virtual-host=",
        )  # fmt: skip
        for name, value in {
            "daemon.timeout": 60,
            "transport.task_retry_initial_interval": 2,
        }.items():
            self.verdi("config", "set", name, value)

    def computer(self, label: str, transport: str, *options: str) -> None:
        """A computer whose jobs go through SLURM, with VASP's stand-in and `leopold` on it."""
        self.verdi(
            "computer", "setup", "--non-interactive", f"--label={label}", "--hostname=127.0.0.1",
            f"--transport={transport}", "--scheduler=core.slurm", f"--work-dir={self.services.folder}/work/{label}",
            "--mpiprocs-per-machine=1", "--mpirun-command=srun -n {tot_num_mpiprocs}", "--shebang=#!/bin/bash",
        )  # fmt: skip
        self.verdi("computer", "configure", transport, label, "--non-interactive", "--safe-interval=0", *options)
        for code, plugin, executable in (
            ("vasp", "leopold.vasp", "leopold-vasp-standin"),
            ("leopold", "leopold.train", "leopold"),
        ):
            self.verdi(
                "code", "create", "core.code.installed", "--non-interactive", f"--label={code}", f"--computer={label}",
                f"--filepath-executable={BIN / executable}", f"--default-calc-job-plugin={plugin}", "--no-with-mpi",
                f"--prepend-text={ONE_THREAD}",
            )  # fmt: skip

    def workers(self) -> list[int]:
        """Process ids of the daemon's workers."""
        from aiida.engine.daemon.client import get_daemon_client

        return [int(pid) for pid in get_daemon_client().get_worker_info()["info"]]


@pytest.fixture(scope="session")
def cluster():
    """Services and profile for all tests of this folder; the daemon runs with two workers."""
    folder = Path(tempfile.mkdtemp(prefix="leopold-cluster-"))  # sockets have short paths, pytest's folders have not
    found, running = services.start(folder)
    made = Cluster(found)
    os.environ |= {key: made.environment[key] for key in ("AIIDA_PATH", "PATH", "SLURM_CONF")}
    try:
        made.profile()
        made.computer("cpu", "core.local")
        made.computer("gpu", "core.local")
        made.computer(
            "remote", "core.ssh", "--username=root", f"--port={found.ssh}", f"--key-filename={found.key}",
            "--no-look-for-keys", "--no-allow-agent", "--no-load-system-host-keys", "--key-policy=AutoAddPolicy",
        )  # fmt: skip
        from aiida import load_profile
        from aiida.manage import get_manager
        from aiida.orm import load_computer

        load_profile("cluster")
        for label in ("cpu", "gpu", "remote"):
            load_computer(label).set_minimum_job_poll_interval(1.0)
        made.verdi("daemon", "start", 2)
        yield made
        made.verdi("daemon", "stop")
        get_manager().unload_profile()
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def wait():
    """`wait(condition, seconds)`: look every second until it holds."""

    def until(condition: Callable[[], object], seconds: float):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {seconds:.0f} s"
            time.sleep(1.0)
        return found

    return until
