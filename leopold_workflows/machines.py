"""Computers and codes of a study, declared in one YAML file.

    computers:
      cluster:
        hostname: login.cluster.org
        transport: core.ssh
        scheduler: core.slurm
        work_dir: /scratch/{username}/aiida
        mpirun: srun -n {tot_num_mpiprocs}
        procs_per_machine: 64
        transport_options: {username: me}
    codes:
      vasp@cluster: {executable: /opt/vasp/bin/vasp_gam, plugin: leopold.vasp, prepend_text: module load vasp}
      leopold@cluster: {executable: /home/me/leopold/bin/leopold, mpi: false}

What is there already stays as it is; where the file says something else about it, that is an error: a computer or a
code that calculations have used is a record of where they ran, and a changed one needs a label of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.plugins import TransportFactory
from aiida.plugins.entry_point import get_entry_point_names
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComputerConfig(_Section):
    """One machine that jobs are sent to."""

    # as an argument of ssh: never an option of it
    hostname: str = Field(pattern=r"^\w[\w.:-]*$")
    transport: str = "core.ssh"
    scheduler: str = "core.slurm"
    work_dir: str = Field(description="absolute; {username} is the one on the machine")
    mpirun: str = Field("mpirun -np {tot_num_mpiprocs}", description="how a code with MPI is started")
    procs_per_machine: int = Field(1, ge=1, description="MPI processes of a node, where a job does not say")
    shebang: str = "#!/bin/bash"
    prepend_text: str = ""
    poll_interval: float = Field(30.0, gt=0, description="s between two looks at the queue")
    transport_options: dict[str, Any] = {}

    @field_validator("transport")
    @classmethod
    def _transport(cls, name: str) -> str:
        return _one_of(name, get_entry_point_names("aiida.transports"))

    @field_validator("scheduler")
    @classmethod
    def _scheduler(cls, name: str) -> str:
        return _one_of(name, get_entry_point_names("aiida.schedulers"))

    @model_validator(mode="after")
    def _options(self):
        known = TransportFactory(self.transport).get_valid_auth_params()
        for key in self.transport_options:
            _one_of(key, list(known))
        return self


class CodeConfig(_Section):
    """One executable on one of them."""

    executable: str = Field(pattern="^/", description="absolute path on the computer")
    plugin: str = "leopold.train"
    mpi: bool = True
    prepend_text: str = ""


class MachinesConfig(_Section):
    """The file."""

    computers: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], ComputerConfig] = {}
    codes: dict[str, CodeConfig] = {}

    @field_validator("codes")
    @classmethod
    def _labels(cls, codes: dict) -> dict:
        for label in codes:
            if not re.fullmatch(r"[\w.-]+@[\w.-]+", label):
                raise ValueError(f"{label!r}: name a code label@computer, like vasp@cluster")
        return codes


def set_up(machines: MachinesConfig) -> Iterator[str]:
    """Make what is missing; says in words what became of each entry. ValueError where one exists and differs."""
    for label, wanted in machines.computers.items():
        yield _computer(label, wanted)
    for full, code in machines.codes.items():
        label, computer = full.split("@")
        yield _code(label, _existing_computer(computer, full), code)


def _computer(label: str, wanted: ComputerConfig) -> str:
    fields = {
        "hostname": wanted.hostname, "transport_type": wanted.transport, "scheduler_type": wanted.scheduler,
    }  # fmt: skip
    properties = {
        "workdir": wanted.work_dir, "mpirun_command": wanted.mpirun.split(), "shebang": wanted.shebang,
        "prepend_text": wanted.prepend_text, "default_mpiprocs_per_machine": wanted.procs_per_machine,
    }  # fmt: skip
    try:
        computer = orm.load_computer(label)
    except NotExistent:
        computer = orm.Computer(label=label, **fields, workdir=wanted.work_dir)
        computer.set_mpirun_command(wanted.mpirun.split())
        computer.set_shebang(wanted.shebang)
        computer.set_prepend_text(wanted.prepend_text)
        computer.set_default_mpiprocs_per_machine(wanted.procs_per_machine)
        computer.store()
        said = "made"
    else:
        found = {name: getattr(computer, name) for name in fields}
        found |= {
            "workdir": computer.get_workdir(), "mpirun_command": computer.get_mpirun_command(),
            "shebang": computer.get_shebang(), "prepend_text": computer.get_prepend_text(),
            "default_mpiprocs_per_machine": computer.get_default_mpiprocs_per_machine(),
        }  # fmt: skip
        _refuse_changes(f"computer {label}", found, fields | properties)
        said = "there already"
    # how to reach it, and how often to ask, are nobody's record
    computer.configure(**wanted.transport_options)
    computer.set_minimum_job_poll_interval(wanted.poll_interval)
    return f"computer {label}: {said}; `verdi computer test {label}` tries it"


def _code(label: str, computer: orm.Computer, wanted: CodeConfig) -> str:
    fields = {
        "filepath_executable": wanted.executable, "default_calc_job_plugin": wanted.plugin, "with_mpi": wanted.mpi,
        "prepend_text": wanted.prepend_text,
    }  # fmt: skip
    try:
        code = orm.load_code(f"{label}@{computer.label}")
    except NotExistent:
        orm.InstalledCode(label=label, computer=computer, **fields).store()
        return f"code {label}@{computer.label}: made"
    found = {name: getattr(code, name) for name in fields} | {"filepath_executable": str(code.filepath_executable)}
    _refuse_changes(f"code {label}@{computer.label}", found, fields)
    return f"code {label}@{computer.label}: there already"


def _existing_computer(label: str, code: str) -> orm.Computer:
    try:
        return orm.load_computer(label)
    except NotExistent:
        raise ValueError(f"codes.{code}: no computer {label!r}; describe it under `computers`") from None


def _refuse_changes(what: str, found: Mapping, wanted: Mapping) -> None:
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"{what} exists with {name} = {found[name]!r}, not {value!r}: calculations refer to it, so give the "
                "changed one another label, or relabel the old one (`verdi computer relabel`, `verdi code relabel`)"
            )


def _one_of(name: str, known: list[str]) -> str:
    if name not in known:
        raise ValueError(f"{name!r}: choose one of {', '.join(sorted(known))}")
    return name
