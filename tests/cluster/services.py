"""PostgreSQL, RabbitMQ, munge, SLURM and sshd of this machine, each with its files in one folder and ports of its own.

Nothing of the system's own configuration is touched: what runs already goes on, and what is started here ends with the
tests. All of it runs as root (SLURM changes users), PostgreSQL as its own user.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "initdb", "rabbitmq-server", "sshd")
# where Debian keeps what is not on everyone's PATH
FOLDERS = ("/usr/sbin", "/usr/lib/rabbitmq/bin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]))
CPUS = 2


def path() -> str:
    return os.pathsep.join([*FOLDERS, os.environ["PATH"]])


def missing() -> list[str]:
    """Commands that are not installed."""
    return [command for command in COMMANDS if shutil.which(command, path=path()) is None]


@dataclass(frozen=True)
class Services:
    """Where they listen: ports on the loopback address, and the environment that SLURM's commands need."""

    folder: Path
    postgres: int
    rabbitmq: int
    ssh: int
    environment: dict[str, str]

    @property
    def key(self) -> Path:
        """Private key that may log in through `ssh`."""
        return self.folder / "ssh" / "user"

    def run(self, *command: str) -> str:
        """Standard output of a command in the environment of the services."""
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    @contextmanager
    def no_broker(self) -> Iterator[None]:
        """RabbitMQ is gone: connections are cut, and nobody answers on its port."""
        # the command runs as a user of its own, with another secret than the server was started with
        cookie = (self.folder / ".erlang.cookie").read_text()
        control = ("rabbitmqctl", "--erlang-cookie", cookie, "--node", f"leopold{self.rabbitmq}@localhost")
        self.run(*control, "stop_app")
        try:
            yield
        finally:
            self.run(*control, "start_app")


@contextmanager
def running(folder: Path) -> Iterator[Services]:
    """All of them, with their files below `folder`, each answering; ended whatever happens."""
    names = ("postgres", "rabbitmq", "erlang", "epmd", "slurmctld", "slurmd", "ssh")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {
        **os.environ,
        "PATH": path(),
        "SLURM_CONF": str(folder / "slurm" / "slurm.conf"),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "HOME": str(folder),
    }
    services = Services(folder, ports["postgres"], ports["rabbitmq"], ports["ssh"], environment)
    folder.chmod(0o755)
    begun: list[subprocess.Popen] = []
    try:
        begun.append(_postgres(services))
        begun.append(_rabbitmq(services, ports["erlang"]))
        begun.append(_munge(services))
        begun += _slurm(services, ports["slurmctld"], ports["slurmd"])
        begun.append(_ssh(services))
        _until(lambda: _answers(services.postgres), "PostgreSQL")
        _until(lambda: _answers(services.rabbitmq), "RabbitMQ")
        _until(lambda: _answers(services.ssh), "sshd")
        _until(lambda: "idle" in services.run("sinfo", "--noheader", "--format=%T"), "SLURM")
        yield services
    finally:
        for process in reversed(begun):
            os.killpg(process.pid, signal.SIGTERM)
        for process in begun:
            process.wait(timeout=60)
        # Erlang's port mapper is a process that RabbitMQ leaves behind
        subprocess.run(["epmd", "-kill"], env=environment, capture_output=True)


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return found


def _begin(services: Services, name: str, *command: str, **environment: str) -> subprocess.Popen:
    with (services.folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            command, env=services.environment | environment, stdout=log, stderr=log, start_new_session=True
        )


def _postgres(services: Services) -> subprocess.Popen:
    data = services.folder / "postgres"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    as_postgres = ("runuser", "-u", "postgres", "--")
    services.run(*as_postgres, shutil.which("initdb", path=path()), "-D", str(data), "--auth=trust", "-U", "postgres")
    options = f"-c port={services.postgres} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    server = shutil.which("postgres", path=path())
    return _begin(services, "postgres", *as_postgres, server, "-D", str(data), *options.split())


def _rabbitmq(services: Services, erlang: int) -> subprocess.Popen:
    folder = services.folder / "rabbitmq"
    folder.mkdir()
    # AiiDA keeps a task unacknowledged for as long as its process lives
    (folder / "advanced.config").write_text("[{rabbit, [{consumer_timeout, undefined}]}].\n")
    server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    return _begin(
        services, "rabbitmq", server,
        RABBITMQ_NODENAME=f"leopold{services.rabbitmq}@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
        RABBITMQ_NODE_PORT=str(services.rabbitmq), RABBITMQ_DIST_PORT=str(erlang),
        RABBITMQ_MNESIA_BASE=str(folder), RABBITMQ_LOG_BASE=str(folder), RABBITMQ_PID_FILE=str(folder / "pid"),
        RABBITMQ_ADVANCED_CONFIG_FILE=str(folder / "advanced.config"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "plugins"),
    )  # fmt: skip


def _munge(services: Services) -> subprocess.Popen:
    folder = services.folder / "munge"
    folder.mkdir()
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = [f"--{name}-file={folder / name}" for name in ("key", "log", "pid", "seed")]
    return _begin(services, "munge", "munged", "--foreground", "--force", f"--socket={folder / 'socket'}", *files)


def _slurm(services: Services, controller: int, node: int) -> list[subprocess.Popen]:
    folder, host = services.folder / "slurm", socket.gethostname()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    # a device that every machine has stands for the GPU: what matters is that the queue counts and grants it
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    (folder / "slurm.conf").write_text(
        f"""\
ClusterName=leopold
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={services.folder / "munge" / "socket"}
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
MinJobAge=60
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP OverSubscribe=NO
"""
    )
    _until((services.folder / "munge" / "socket").exists, "munge")
    # foreground, so that their end is seen
    return [_begin(services, "slurmctld", "slurmctld", "-D"), _begin(services, "slurmd", "slurmd", "-D", "-N", host)]


def _ssh(services: Services) -> subprocess.Popen:
    folder = services.folder / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        services.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    Path("/run/sshd").mkdir(exist_ok=True)  # compiled into sshd
    (folder / "sshd_config").write_text(
        f"""\
Port {services.ssh}
ListenAddress 127.0.0.1
HostKey {folder / "host"}
AuthorizedKeysFile {folder / "user.pub"}
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile {folder / "pid"}
SetEnv SLURM_CONF={services.environment["SLURM_CONF"]}
Subsystem sftp internal-sftp
"""
    )
    return _begin(services, "sshd", shutil.which("sshd", path=path()), "-D", "-f", str(folder / "sshd_config"))


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def _until(ready: Callable[[], bool], name: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except subprocess.CalledProcessError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{name} did not answer within {seconds:.0f} s; see its .log in the folder of the services")
