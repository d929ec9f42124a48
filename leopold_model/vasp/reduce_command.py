"""`leopold reduce-vasp`: run on the cluster at the end of a job, so that OUTCAR can stay there."""

from __future__ import annotations

from pathlib import Path

import click

from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.reduced import REDUCED, write_reduced


@click.command("reduce-vasp")
@click.argument("outcar", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=Path("OUTCAR"))
@click.argument("reduced", type=click.Path(dir_okay=False, path_type=Path), default=Path(REDUCED))
@click.option("--set-aside", is_flag=True, help="Rename OUTCAR to OUTCAR.reduced when that is done.")
def command(outcar: Path, reduced: Path, set_aside: bool):
    """Write what frames need of OUTCAR to the HDF5 file REDUCED, some hundredth of its size.

    Example: leopold reduce-vasp OUTCAR reduced.h5
    """
    try:
        run = read_outcar(outcar)
        write_reduced(reduced, run)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if set_aside:
        outcar.rename(outcar.with_name(outcar.name + ".reduced"))
    click.echo(f"{reduced}: {len(run.complete_steps)} complete steps, {reduced.stat().st_size / 1e6:.1f} MB")
