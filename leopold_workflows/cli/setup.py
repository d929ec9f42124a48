"""`aiida-leopold setup`: computers and codes from one file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("machines", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def setup(machines: Path) -> None:
    """Make the computers and codes that FILE (YAML) describes and the profile lacks; run again, it changes nothing.

    Example: aiida-leopold setup machines.yaml

    \b
    with a file like this one (transport, scheduler and options have AiiDA's names):
      computers:
        cluster: {hostname: login.cluster.org, work_dir: "/scratch/{username}", procs_per_machine: 64,
                  mpirun: "srun -n {tot_num_mpiprocs}", transport_options: {username: me}}
      codes:
        vasp@cluster: {executable: /opt/vasp/bin/vasp_gam, plugin: leopold.vasp, prepend_text: module load vasp}
        leopold@cluster: {executable: /home/me/leopold/bin/leopold, mpi: false}
    """

    from leopold_workflows.cli import profile

    profile.load()
    from leopold_model.config import parse, read_yaml
    from leopold_workflows.machines import MachinesConfig, set_up

    try:
        described = parse(read_yaml(machines.read_bytes(), str(machines)), MachinesConfig, where=str(machines))
        for said in set_up(described):
            click.echo(said)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
