"""`aiida-leopold launch`: submit a study from the shell."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click

from leopold_model.config import ConfigError, read_yaml
from leopold_workflows.cli import options

# inputs of a study that replace what its seed would make
NODES = ("configurations", "frames", "test", "starts", "template")
# classes of the nodes that are given, where they are no frames
KINDS = {"template": "Dict", "model": "ModelData", "structure": "StructureData"}


def _study(context: click.Context, _option, value: str) -> str:
    """The material, which may be a file; where `value` is a study file, its other keys become defaults of options."""
    if not value.endswith((".yaml", ".yml")):
        return value
    if not Path(value).is_file():
        raise click.ClickException(f"{value}: no such file; give that of a study or a material, or a name like mgo")
    try:
        study = read_yaml(Path(value).read_bytes(), value)
    except (OSError, ConfigError) as error:
        raise click.ClickException(str(error)) from None
    if isinstance(study, dict) and isinstance(study.get("lattice"), dict):
        return value
    if not isinstance(study, dict) or "material" not in study:
        raise click.ClickException(
            f"{value}: neither a material, which has a `lattice`, nor a study, which names its `material`"
        )
    known = ["material", *(option.name for option in context.command.params if isinstance(option, click.Option))]
    for key in study:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise click.ClickException(
                f"{value}: unknown key {key!r}: {f'did you mean {near[0]!r}?' if near else ', '.join(known)}"
            )
    context.default_map = {key: value for key, value in study.items() if key != "material"}
    return study["material"]


def _shared(command):
    """The options every study takes."""
    for option in reversed(SHARED):
        command = option(command)
    return command


SHARED = (
    click.option("--vasp", required=True, help="Label of the VASP code, like vasp@cluster."),
    click.option("--leopold", required=True, help="Label of the leopold code, like leopold@gpu."),
    click.option(
        "--protocol", type=click.Choice(["fast", "balanced", "stringent"]), default="balanced", show_default=True
    ),
    click.option("--potential-family", help="POTCAR family of aiida-vasp; default: placeholders for the stand-in."),
    click.option("--structure", help="Host supercell instead of the material's: PK, UUID or a file (POSCAR, CIF ...)."),
    options.overrides,
    click.option(
        "--dry-run",
        is_flag=True,
        help="Build and validate the inputs, print them and what they amount to; submit nothing.",
    ),
    click.option("--json", "as_json", is_flag=True, help="PK and UUID of what was submitted as one JSON object."),
)


_STEP_SECONDS = click.option(
    "--step-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="What VASP needs for one ionic step of this cell, for the node-hours that --dry-run prints.",
)


@click.group()
def launch() -> None:
    """Submit a study to the daemon."""


@launch.command()
@click.argument("material", metavar="STUDY", callback=_study, is_eager=True)
@_shared
@click.option(
    "--configurations", help="Structures with carrier sites, a seed from each: PK, UUID or a file (.h5, .xyz)."
)
@click.option("--frames", help="PK or UUID of labelled frames: the study begins with them and has no seed.")
@click.option("--test", help="PK or UUID of a held-out run to go with --frames.")
@click.option("--starts", help="PK or UUID of starts of dynamics to go with --frames.")
@click.option("--template", help="PK or UUID of a carrier's occupations to go with --frames.")
@_STEP_SECONDS
def dynamics(
    material, vasp, leopold, protocol, potential_family, structure, overrides, dry_run, as_json, step_seconds, **nodes
) -> None:
    """A whole study: seed, learn, transport. STUDY is a material: one of those shipped (mgo, tio2, anatase, ...) or a
    YAML file like theirs; or a YAML file with `material` and any of these options, dashes as underscores.

    Example: aiida-leopold launch dynamics mgo --vasp vasp@cluster --leopold leopold@gpu --potential-family PBE.54

    A study that begins with frames: the same with --frames PK, as `aiida-leopold data import` printed it. With
    --dry-run: the INCAR of every stage with its reasons, KPOINTS, POTCARs, OCCMATRIX, jobs and node-hours.
    """
    from aiida.plugins import WorkflowFactory

    from leopold_workflows.cli import profile
    from leopold_workflows.preview import preview

    profile.load()
    try:
        given = {
            name: (_configurations if name == "configurations" else _node)(name, nodes[name])
            for name in NODES
            if nodes[name] is not None
        }
        builder = WorkflowFactory("leopold.dynamics").get_builder_from_protocol(
            code_vasp=_code("--vasp", vasp),
            code_leopold=_code("--leopold", leopold),
            material=material,
            protocol=protocol,
            potential_family=potential_family,
            overrides=overrides,
            structure=None if structure is None else _structure(structure),
            frames=given.get("frames"),
            configurations=given.get("configurations"),
        )
        for name, node in given.items():
            builder[name] = node
        process = _submit(builder, dry_run)
        if dry_run:
            click.echo(f"\n{preview(builder._inputs(prune=True), step_seconds)}")
    except ValueError as error:
        raise click.ClickException(str(error).removeprefix("invalid attribute value ")) from None  # AiiDA's words
    _tell(process, as_json, "`aiida-leopold show status {pk}` watches it")


@launch.command()
@click.argument("material", metavar="STUDY", callback=_study, is_eager=True)
@_shared
@click.option("--model", required=True, help="PK or UUID of a trained model.")
@click.option("--pathway", help="Class of the hop as the catalogue names it, like 'O-O 2.96 A <110> x12'.")
@click.option("--sites", nargs=2, type=int, help="Instead of --pathway: the two atoms of the host, from 0.")
def barrier(
    material, vasp, leopold, protocol, potential_family, structure, overrides, dry_run, as_json, model, pathway, sites
) -> None:
    """One hop by a model beside VASP: barrier, moments, adiabatic or diabatic. STUDY as of `launch dynamics`.

    Example: aiida-leopold launch barrier mgo --model 1042 --pathway 'O-O 2.96 A <110> x12' --vasp vasp@cluster
    --leopold leopold@gpu --potential-family PBE.54
    """
    from aiida.plugins import WorkflowFactory

    from leopold_workflows.cli import profile

    profile.load()
    try:
        builder = WorkflowFactory("leopold.barrier").get_builder_from_protocol(
            code_vasp=_code("--vasp", vasp),
            code_leopold=_code("--leopold", leopold),
            model=_node("model", model),
            material=material,
            pathway=pathway,
            sites=sites,
            structure=None if structure is None else _structure(structure),
            protocol=protocol,
            potential_family=potential_family,
            overrides=overrides,
        )
        process = _submit(builder, dry_run)
    except ValueError as error:
        raise click.ClickException(str(error).removeprefix("invalid attribute value ")) from None  # AiiDA's words
    _tell(process, as_json, "`aiida-leopold show figures {pk}` draws it when it is done")


@launch.command()
@click.argument("material", metavar="STUDY", callback=_study, is_eager=True)
@_shared
@click.option("--lattice", help="Instead of the material's: a shipped lattice (`leopold patterns lattice`) or a YAML.")
@click.option(
    "--measured", type=click.Path(exists=True, dir_okay=False), help="CSV of measured positions, x and y in Å."
)
@_STEP_SECONDS
def patterns(
    material,
    vasp,
    leopold,
    protocol,
    potential_family,
    structure,
    overrides,
    dry_run,
    as_json,
    lattice,
    measured,
    step_seconds,
) -> None:
    """Where defects and carriers sit: learned energies, annealed areas, correlations. STUDY as of `launch dynamics`.

    Example: aiida-leopold launch patterns tio2_110 --vasp vasp@cluster --leopold leopold@cluster
    --potential-family PBE.54 --measured vacancies.csv
    """
    from aiida.orm import SinglefileData
    from aiida.plugins import WorkflowFactory

    from leopold_workflows.cli import profile
    from leopold_workflows.pattern_preview import preview

    if structure is not None:
        raise click.ClickException("--structure: the structures of patterns are those of --lattice")
    profile.load()
    try:
        builder = WorkflowFactory("leopold.patterns").get_builder_from_protocol(
            code_vasp=_code("--vasp", vasp),
            code_leopold=_code("--leopold", leopold),
            material=material,
            protocol=protocol,
            potential_family=potential_family,
            overrides=overrides,
            lattice=lattice,
            measured=None if measured is None else SinglefileData(Path(measured).resolve()),
        )
        process = _submit(builder, dry_run)
        if dry_run:
            click.echo(f"\n{preview(builder._inputs(prune=True), step_seconds)}")
    except ValueError as error:
        raise click.ClickException(str(error).removeprefix("invalid attribute value ")) from None  # AiiDA's words
    _tell(process, as_json, "`aiida-leopold show status {pk}` watches it")


def _submit(builder, dry_run: bool):
    """The node of the process; None for a dry run, which prints the inputs. ValueError when they are at fault."""
    from aiida.engine import submit

    from leopold_workflows.preview import settings

    # what a submission does before anything is stored: the builder alone asks no validator that needs two ports
    ports = builder.process_class.spec().inputs
    error = ports.validate(ports.pre_process(builder._inputs(prune=True)))
    if error is not None:
        raise ValueError(error.message + (_differences(builder) if "level of theory" in error.message else ""))
    if not dry_run:
        return submit(builder)
    click.echo(f"{builder.process_class.__name__}\n\n{settings(builder._inputs(prune=True))}")
    return None


def _differences(builder) -> str:
    """In what the study differs from the runs that its frames were taken from."""
    from leopold_workflows.vasp.adapter import stage_level
    from leopold_workflows.vasp.level_of_theory import differences
    from leopold_workflows.vasp.old_run import levels_of

    inputs = builder._inputs(prune=True)
    label = inputs["learn"]["label"]
    incar = label["incar"].get_dict() if "incar" in label else {}
    wanted = stage_level(label["vasp"], inputs["host"], label["carrier"], "static", incar)
    told = {line for level in levels_of(inputs["frames"]) for line in differences(level, wanted)}
    return f"\nThe frames, then this study: {'; '.join(sorted(told))}" if told else ""


def _tell(process, as_json: bool, next_step: str) -> None:
    """What was submitted, if anything."""
    from aiida.engine.daemon.client import get_daemon_client

    if process is None:
        return
    if as_json:
        click.echo(json.dumps({"pk": process.pk, "uuid": process.uuid}))
    else:
        click.echo(f"submitted {process.process_label}<{process.pk}>; {next_step.format(pk=process.pk)}")
    if not get_daemon_client().is_daemon_running:
        click.echo("the daemon is not running, and nothing happens without it: `verdi daemon start`", err=True)


def _code(option: str, label: str):
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_code

    try:
        return load_code(label)
    except NotExistent:
        raise ValueError(f"{option} {label}: no such code in this profile; `verdi code list` shows them") from None
    except MultipleObjectsError:
        raise ValueError(f"{option} {label}: several codes of that label; give a PK of `verdi code list`") from None


def _node(option: str, identifier: str, besides: str = ""):
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_node

    wanted = KINDS.get(option, "FrameSetData")
    try:
        node = load_node(identifier)
    except (NotExistent, MultipleObjectsError):
        raise ValueError(
            f"--{option} {identifier}: {besides}no such node in this profile; give the PK or UUID of one in it"
        ) from None
    if type(node).__name__ != wanted:
        raise ValueError(f"--{option} {identifier}: of class {type(node).__name__}, not {wanted}")
    return node


def _configurations(option: str, identifier: str):
    from leopold_model.frames import read_frames
    from leopold_workflows.data.frames import FrameSetData

    return (
        FrameSetData.from_frames(read_frames(identifier))
        if Path(identifier).is_file()
        else _node(option, identifier, "no such file, and ")
    )


def _structure(identifier: str):
    from aiida.orm import StructureData

    from leopold_model.structures import StructureError, read_structure

    if not Path(identifier).is_file():
        return _node("structure", identifier, "no such file, and ")
    try:
        return StructureData(ase=read_structure(identifier))
    except StructureError as error:
        raise ValueError(f"--structure {error}") from None
