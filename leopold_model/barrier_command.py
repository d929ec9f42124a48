"""`leopold barrier`: energies and moments along one hop, its barrier, and whether it is adiabatic or diabatic."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from leopold_model import barrier_report
from leopold_model.barrier import (
    BarrierError,
    displacement,
    image_on,
    learned_surface,
    linear_path,
    minimum_energy_path,
    relax,
    site_map,
    standin_surface,
)
from leopold_model.checkpoint import Model, ModelError, load_model
from leopold_model.frames import Frame, FrameError, read_frames
from leopold_model.standin.parameters import SETS
from leopold_model.structures import StructureError, read_structure


@click.command("barrier")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("structure", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--to", "end", type=int, required=True, help="Atom the carrier hops to, from 0.")
@click.option("--from", "start", type=int, help="Atom it hops from; the frame's own carrier site if not given.")
@click.option(
    "--ends",
    is_flag=True,
    help="STRUCTURE holds two, relaxed elsewhere with the carrier on one atom and on the other: draw the line there.",
)
@click.option("--images", type=click.IntRange(min=3), default=13, show_default=True, help="Of each path, with ends.")
@click.option(
    "--fmax", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True,
    help="Largest force at the end, eV/Angstrom.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Most, of each search.")
@click.option(
    "--reference",
    type=click.Choice(["standin", *SETS]),
    help="The same straight line on another surface, beside: of the stand-in, or of one of its parameter sets.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Picture (PNG and PDF) with its CSV.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def command(model, structure, end, start, ends, images, fmax, steps, reference, plot, as_json):
    """Barrier of the hop of MODEL's carrier from the atom it sits on in STRUCTURE to another one.

    STRUCTURE is a frame file (.h5, .xyz; its first frame counts), or with --from anything ASE reads, or phonopy.yaml.

    Example: leopold barrier model.leopold start.h5 --to 33 --plot hop.png
    """
    try:
        learned = load_model(model)
        atoms, i = read_start(structure, start, learned)
        other = read_end(structure, atoms) if ends else None
        check_sites(atoms, (i, end))
    except (BarrierError, FrameError, ModelError, StructureError) as error:
        raise click.ClickException(str(error)) from None
    try:
        result = barrier(learned, atoms, (i, end), images, fmax, steps, reference, other)
    except BarrierError as error:
        # this much is known of the hop, and a machine that asks is told so
        if as_json:
            click.echo(json.dumps({"status": "no_barrier", "reason": str(error)}))
        raise click.ClickException(str(error)) from None
    if plot is not None:
        from leopold_model.plots import hop_barrier

        hop_barrier(plot, result)
    click.echo(json.dumps(result) if as_json else barrier_report.table(result))


def read_start(structure: Path, start: int | None, model: Model) -> tuple[Atoms, int]:
    """The structure and the atom that carries; FrameError, StructureError, ModelError or BarrierError if it has none
    that can be used."""
    if _holds_frames(structure):
        frames = read_frames(structure)
        if not frames:
            raise FrameError(f"{structure} holds no frame: give one with the carrier on its site")
        frame = frames[0]
        if frame.carrier_sites:
            model.must_fit([frame], str(structure))
    else:
        atoms = read_structure(structure)
        frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, pbc=atoms.pbc)
    if model.n_carriers != 1:
        raise BarrierError(f"{model.n_carriers} carriers: the barrier of a hop is that of one; use a model of one")
    if start is None and not frame.carrier_sites:
        raise BarrierError(f"{structure} does not say where the carrier is (carrier_sites): give its atom with --from")
    model.species_index(frame.numbers)
    model.must_serve(frame.cell, frame.pbc)
    atoms = Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    return atoms, frame.carrier_sites[0] if start is None else start


def read_end(structure: Path, start: Atoms) -> Atoms:
    """The second structure of the file, where the carrier sits on the other atom."""
    frames = read_frames(structure) if _holds_frames(structure) else []
    if len(frames) != 2:
        found = f"{len(frames)} frames" if _holds_frames(structure) else "not a frame file"
        raise FrameError(f"--ends: {structure} is {found}; give a file (.h5, .xyz) of two, start and end of the hop")
    if not np.array_equal(frames[1].numbers, start.numbers) or np.abs(frames[1].cell - start.cell).max() > 1e-6:
        raise FrameError(f"--ends: the two structures in {structure} differ in atoms or cell; give the same for both")
    end = start.copy()
    end.positions = frames[1].positions
    return end


def _holds_frames(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".h5", ".hdf5", ".xyz", ".extxyz"))


def check_sites(atoms: Atoms, sites: tuple[int, int]) -> None:
    """BarrierError unless both are atoms, distinct and of one element."""
    for name, site in zip(("--from", "--to"), sites, strict=True):
        if not 0 <= site < len(atoms):
            raise BarrierError(f"{name} {site}: the structure has atoms 0 to {len(atoms) - 1}")
    i, j = sites
    if i == j:
        raise BarrierError(f"--to {j}: the carrier is on that atom already; choose another one")
    if atoms.numbers[i] != atoms.numbers[j]:
        others = np.flatnonzero(atoms.numbers == atoms.numbers[i])
        others = others[others != i]
        nearest = others[np.argsort(atoms.get_distances(i, others, mic=True), kind="stable")[:6]]
        raise BarrierError(
            f"--to {j} is {atoms.symbols[j]}, but the carrier sits on {atoms.symbols[i]} (atom {i}) and hops between "
            f"atoms of one element: the nearest are {', '.join(str(k) for k in nearest)}"
        )


def barrier(
    model: Model,
    atoms: Atoms,
    sites: tuple[int, int],
    n_images: int,
    fmax: float,
    steps: int,
    reference: str | None = None,
    end: Atoms | None = None,
) -> dict:
    """The result (see `barrier_report`); BarrierError when the hop has no barrier to give.

    With `end`, `atoms` is where the line begins and `end` where it ends, as they are; without, both are relaxed first.
    """
    from leopold_model.calculator import LeopoldCalculator

    i, j = sites
    # small differences of large energies: single precision would show in the forces at fmax
    surface = learned_surface(atoms, LeopoldCalculator(model, [i], dtype="float64"))
    if end is None:
        start = relax(surface, atoms, i, fmax, steps)
        ends = start, relax(surface, _guess(start, sites), j, fmax, steps)
    else:
        ends = atoms, end
    line, crossing = linear_path(surface, *ends, sites, n_images)
    result = {
        "status": "finished",
        "carrier": model.carrier,
        **barrier_report.between(ends[0], site_map(ends[0], chemical_symbols[atoms.numbers[i]]), sites),
        "ends": "relaxed" if end is None else "given",
        "path_length_Angstrom": float(np.linalg.norm(displacement(*ends))),
        **barrier_report.line(line, crossing),
        "barrier_neb_eV": None,
        "neb": None,
        "reference": None,
    }
    if reference is not None:
        try:
            found = linear_path(
                standin_surface(atoms, None if reference == "standin" else reference), *ends, sites, n_images
            )
        except ValueError as error:
            raise BarrierError(f"--reference {reference}: {error}") from None
        result["reference"] = {"name": reference, **barrier_report.line(*found)}
        result["deviation"] = barrier_report.deviation(result, result["reference"])
    try:
        if end is not None:
            ends = relax(surface, atoms, i, fmax, steps), relax(surface, end, j, fmax, steps)
        path, search = minimum_energy_path(surface, *ends, sites, n_images, fmax, steps)
        # an unfinished band has no top to speak of; its points are in "neb" all the same
        result["barrier_neb_eV"] = path.barrier if search.converged else None
        result["neb"] = barrier_report.neb(path, search)
    except BarrierError as error:
        result["neb_missing"] = str(error)
    return result


def _guess(start: Atoms, sites: tuple[int, int]) -> Atoms:
    """Where to begin to look for the other end: the first turned onto it, if an operation of the crystal does that;
    without one, the carrier has to dig itself in anew from where the atoms are."""
    crystal = site_map(start, chemical_symbols[start.numbers[sites[0]]])
    turned = None if crystal is None else image_on(crystal, *sites)
    guess = start.copy()
    if turned is not None:
        guess.positions += turned
    return guess
