"""`aiida-leopold launch`: submit a study from the shell."""

from __future__ import annotations

import click

from leopold_workflows.cli import options


@click.group()
def launch() -> None:
    """Submit a study to the daemon."""


@launch.command()
@click.argument("material")
@click.option("--vasp", required=True, help="Label of the VASP code, like vasp@cluster.")
@click.option("--leopold", required=True, help="Label of the leopold code, like leopold@gpu.")
@click.option("--protocol", type=click.Choice(["fast", "balanced", "stringent"]), default="balanced", show_default=True)
@click.option("--potential-family", help="POTCAR family of aiida-vasp; default: placeholders for the stand-in.")
@options.overrides
@click.option("--dry-run", is_flag=True, help="Build and validate the inputs, print them, submit nothing.")
def dynamics(material, vasp, leopold, protocol, potential_family, overrides, dry_run) -> None:
    """The whole study of MATERIAL (mgo, tio2): seed, learn, transport.

    Example: aiida-leopold launch dynamics mgo --vasp vasp@cluster --leopold leopold@gpu --potential-family PBE.54
    """
    from aiida import load_profile
    from aiida.engine import submit
    from aiida.orm import load_code
    from aiida.plugins import WorkflowFactory

    load_profile()
    process = WorkflowFactory("leopold.dynamics")
    try:
        builder = process.get_builder_from_protocol(
            code_vasp=_code(load_code, "--vasp", vasp),
            code_leopold=_code(load_code, "--leopold", leopold),
            material=material,
            protocol=protocol,
            potential_family=potential_family,
            overrides=overrides,
        )
        if dry_run:
            # what a submission does before anything is stored: the builder alone asks no validator that needs two ports
            ports = process.spec().inputs
            error = ports.validate(ports.pre_process(builder._inputs(prune=True)))
            if error is not None:
                raise ValueError(error.message)
            click.echo(builder)
            return
        node = submit(builder)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"submitted PolaronDynamicsWorkChain<{node.pk}>; `aiida-leopold show status {node.pk}` watches it")


def _code(load_code, option: str, label: str):
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    try:
        return load_code(label)
    except NotExistent:
        raise ValueError(f"{option} {label}: no such code in this profile; `verdi code list` shows them") from None
    except MultipleObjectsError:
        raise ValueError(f"{option} {label}: several codes of that label; give a PK of `verdi code list`") from None
