"""Molecular dynamics with a learned model: `leopold md CONFIG.yaml`.

Reads and checks the inputs, runs `md_simulation`, and leaves `trajectory.h5`, `track.h5`, `result.json` and, until the
run is over, `checkpoint.h5`, from which the same command continues to the bit. With `keep_checkpoint` it stays, and the
same command with larger `more_steps` goes on from the end.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import jax.numpy as jnp
import numpy as np

from leopold_model.checkpoint import Model, ModelError, load_model
from leopold_model.config import ConfigError, MDConfig, load
from leopold_model.frames import Frame, FrameError, read_frames
from leopold_model.md_files import CheckpointError
from leopold_model.md_simulation import RESULT, ForceField, simulate
from leopold_model.network import member, member_outputs, n_members
from leopold_model.selftest import UnsoundJax, require_sound_jax

EXIT_OUT_OF_WALLTIME = 10
EXIT_ALL_STOPPED = 11


class MDError(ValueError):
    """Inputs dynamics cannot start from; the message names the field, the value and the remedy."""


def force_field(model: Model, numbers: np.ndarray, dtype: str) -> ForceField:
    """The network of a model file for these atoms; ModelError names species it has not seen."""
    species = model.species_index(numbers)
    params, networks = model.astype(dtype).params, model.spec.committee
    if networks > 1:  # the scales, which they share, as well
        params |= {"scales": {k: jnp.broadcast_to(a, (networks, *a.shape)) for k, a in params["scales"].items()}}
    _, spec = member(model.params, model.spec, 0)

    def potential(params, vectors, senders, receivers, mask, species, charge):
        return member_outputs(params, spec, vectors, senders, receivers, mask, species, charge)

    known = model.calibration
    calibration = (known["energy"], known["forces"], known["occupations"])
    return ForceField(potential, params, model.cutoff, species, model.reference_energy(species), model.images,
                      networks, calibration, model.total_moment)  # fmt: skip


def run(config: MDConfig, directory: str | Path = ".", report: Callable[[str], None] | None = None) -> dict:
    """Read the files a configuration names, run it, write its outputs into `directory`, return the result."""
    directory = Path(directory)
    require_sound_jax(config.device)
    path = directory / config.model
    model = load_model(path)
    frames = read_frames(directory / config.structures)
    check_start(frames, config.structures, model.carrier, model.n_carriers)
    check_fixed(config.fixed, len(frames[0]))
    for frame in frames:
        model.must_serve(frame.cell, frame.pbc)
    opinions = {"energy": n_members(model.spec), "moment": n_members(model.spec), "force": model.spec.committee}
    for quantity, number in opinions.items():
        name = f"max_{quantity}_spread"
        if number == 1 and name in config.guards.model_fields_set and getattr(config.guards, name) is not None:
            raise MDError(
                f"guards.{name} = {getattr(config.guards, name):g}, but {config.model} has one opinion on the "
                f"{quantity} and so no spread: leave the guard out, or train with network.committee: 4"
            )
    field = force_field(model, frames[0].numbers, config.dtype)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return simulate(config, frames, field, directory, report, model_hash=digest)


def check_fixed(fixed: Sequence[int], n_atoms: int) -> None:
    """MDError unless `fixed` are atoms of the structure, and some atom is left to move."""
    beyond = [atom for atom in fixed if atom >= n_atoms]
    if beyond:
        raise MDError(f"fixed: atom {beyond[0]}, but the structures have atoms 0 to {n_atoms - 1}")
    if len(set(fixed)) == n_atoms:
        raise MDError(f"fixed: all {n_atoms} atoms: leave out those that are to move")


def check_start(frames: Sequence[Frame], name: str, carrier: str, n_carriers: int) -> None:
    """MDError unless the frames are structures of the same atoms with `n_carriers` carriers of kind `carrier`."""
    if not frames:
        raise MDError(f"structures = {name!r} holds no frame: give at least one with carrier_sites")
    for k, frame in enumerate(frames):
        if not frame.carrier_sites:
            raise MDError(
                f"structures = {name!r}, frame {k}: carrier_sites is empty; dynamics must know where the carrier is. "
                "Set it to the atom index (from 0) of each carrier"
            )
        if len(set(frame.carrier_sites)) != len(frame.carrier_sites):
            raise MDError(f"structures = {name!r}, frame {k}: carrier_sites = {frame.carrier_sites} repeats an atom")
        if len(frame.carrier_sites) != n_carriers:
            raise MDError(
                f"structures = {name!r}, frame {k}: carrier_sites = {frame.carrier_sites}, but the model was trained "
                f"with {n_carriers} carrier(s); give that many or use another model"
            )
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise MDError(
                f"structures = {name!r}, frame {k}: its atoms (numbers) differ from those of frame 0; one run moves "
                "one set of atoms in one order. Sort them or run them separately"
            )
        if not np.array_equal(frame.pbc, frames[0].pbc):
            raise MDError(f"structures = {name!r}, frame {k}: pbc = {frame.pbc.tolist()} differs from frame 0")
        for field in ("positions", "cell", "velocities"):
            value = getattr(frame, field)
            if value is not None and not np.isfinite(value).all():
                raise MDError(f"structures = {name!r}, frame {k}: {field} holds NaN or infinity")
        if frame.carrier != carrier:
            raise MDError(
                f"structures = {name!r}, frame {k}: carrier = {frame.carrier!r}, but the model was trained for "
                f"{carrier!r}s; use a model of that carrier"
            )


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def command(config: str, as_json: bool) -> None:
    """Molecular dynamics with a learned model: per-step carrier track, hop windows, H5MD trajectory.

    Run the same command again to continue after exit code 10 (walltime) or an interruption.

    Example: leopold md md.yaml
    """
    try:
        settings = load(config, "md")
        result = run(settings, Path(config).parent, report=Progress())
    except (ConfigError, FrameError, ModelError, MDError, CheckpointError, UnsoundJax, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo("", err=True)
    if as_json:
        click.echo(json.dumps(result))
    else:
        for r in result["replicas"]:
            click.echo(
                f"replica {r['replica']}  {r['temperature']:g} K  {r['status']}  {r['steps']} steps  "
                f"{r['flips']} flips  {r['windows']} windows{'  ' + r['reason'] if r['reason'] else ''}"
            )
        click.echo(f"{result['status']}: {settings.track}, {settings.trajectory}, {RESULT}")
    if result["status"] == "out_of_walltime":
        raise SystemExit(EXIT_OUT_OF_WALLTIME)
    if all(r["status"] != "finished" for r in result["replicas"]):
        raise SystemExit(EXIT_ALL_STOPPED)


class Progress:
    """One live line on a terminal; one line every half minute where output goes to a file."""

    def __init__(self):
        self.live = click.get_text_stream("stderr").isatty()
        self.last = 0.0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self.last < (0.2 if self.live else 30.0):
            return
        self.last = now
        click.echo(f"\r\033[K{line}" if self.live else line, nl=not self.live, err=True)
