"""A profile on PostgreSQL and RabbitMQ with computers behind SLURM, made with the commands a user would type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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

    def machines(self) -> None:
        """Computers `cpu` and `gpu`, and `remote` through SSH: the jobs of all three go through SLURM."""
        here = {
            "hostname": "127.0.0.1", "transport": "core.local", "transport_options": {"safe_interval": 0},
            "mpirun": "srun -n {tot_num_mpiprocs}", "poll_interval": 1,
        }  # fmt: skip
        ssh = {
            "username": "root", "port": self.services.ssh, "key_filename": str(self.services.key), "safe_interval": 0,
            "look_for_keys": False, "allow_agent": False, "load_system_host_keys": False, "key_policy": "AutoAddPolicy",
        }  # fmt: skip
        computers = {
            label: {**here, "work_dir": f"{self.services.folder}/work/{label}"} for label in ("cpu", "gpu", "remote")
        }
        computers["remote"] |= {"transport": "core.ssh", "transport_options": ssh}
        codes = {
            f"{code}@{label}": {
                "executable": str(BIN / executable), "plugin": plugin, "mpi": False, "prepend_text": ONE_THREAD,
            }
            for label in computers
            for code, plugin, executable in (
                ("vasp", "leopold.vasp", "leopold-vasp-standin"),
                ("leopold", "leopold.train", "leopold"),
            )
        }  # fmt: skip
        file = self.services.folder / "machines.yaml"
        file.write_text(yaml.safe_dump({"computers": computers, "codes": codes}))
        command = [str(BIN / "aiida-leopold"), "setup", str(file)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def workers(self) -> list[int]:
        """Process ids of the daemon's workers."""
        from aiida.engine.daemon.client import get_daemon_client

        return [int(pid) for pid in get_daemon_client().get_worker_info()["info"]]


@pytest.fixture(scope="session")
def cluster():
    """Services and profile for all tests of this folder; the daemon runs with two workers."""
    folder = Path(tempfile.mkdtemp(prefix="leopold-cluster-"))  # sockets have short paths, pytest's folders have not
    with services.running(folder) as found:
        made = Cluster(found)
        os.environ |= {key: made.environment[key] for key in ("AIIDA_PATH", "PATH", "SLURM_CONF")}
        made.profile()
        made.machines()
        # aiida reads its path when it is imported
        from aiida import load_profile
        from aiida.manage import get_manager

        load_profile("cluster")
        made.verdi("daemon", "start", 2)
        yield made
        made.verdi("daemon", "stop")
        get_manager().unload_profile()
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
