"""The temporary AiiDA profile of the workflow tests, and the real codes of this environment, for whole studies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.workflows.conftest import *  # noqa: F403

ONE_THREAD = (
    "export OMP_NUM_THREADS=1\nexport XLA_FLAGS='--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'"
)


@pytest.fixture(scope="session")
def installed(aiida_profile, tmp_path_factory):
    """The VASP stand-in and `leopold`, one thread each, on a computer of their own."""
    from aiida.orm import Computer, InstalledCode

    computer = Computer(
        label="here", hostname="localhost", transport_type="core.local", scheduler_type="core.direct",
        workdir=str(tmp_path_factory.mktemp("work")),
    ).store()  # fmt: skip
    # rounds of equal shapes compile once
    compiled = f"export JAX_COMPILATION_CACHE_DIR={tmp_path_factory.mktemp('jax')}"
    computer.set_minimum_job_poll_interval(0.1)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(safe_interval=0.0)
    codes = {}
    for label, executable in (("vasp", "leopold-vasp-standin"), ("leopold", "leopold")):
        path = str(Path(sys.executable).parent / executable)
        codes[label] = InstalledCode(
            label=label, computer=computer, filepath_executable=path, with_mpi=False,
            prepend_text=f"{ONE_THREAD}\n{compiled}",
        ).store()  # fmt: skip
    return codes
