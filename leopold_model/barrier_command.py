"""`leopold barrier`: energies and moments along one hop, its barrier, and whether it is adiabatic or diabatic."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read

from leopold_model.analysis.pathways import enumerate_pathways
from leopold_model.analysis.sites import SiteMap
from leopold_model.barrier import (
    BarrierError,
    Crossing,
    HopPath,
    Search,
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

VERDICTS = {"adiabatic": "adiabatic, the moment passes over continuously", "diabatic": "diabatic, the moment jumps"}


@click.command("barrier")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("structure", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--to", "end", type=int, required=True, help="Atom the carrier hops to, from 0.")
@click.option("--from", "start", type=int, help="Atom it hops from; the frame's own carrier site if not given.")
@click.option("--images", type=click.IntRange(min=5), default=13, show_default=True, help="Of each path, with ends.")
@click.option(
    "--fmax", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True,
    help="Largest force at the end, eV/Angstrom.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Most, of each search.")
@click.option("--reference", type=click.Choice(["standin"]), help="The same straight line on another surface, beside.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Picture (PNG and PDF) with its CSV.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object on the last line.")
def command(model, structure, end, start, images, fmax, steps, reference, plot, as_json):
    """Barrier of the hop of MODEL's carrier from the atom it sits on in STRUCTURE to another one.

    STRUCTURE is a frame file (.h5, .xyz; its first frame counts), or anything ASE reads with --from. Example:

    leopold barrier model.leopold start.h5 --to 33 --plot hop.png
    """
    try:
        learned = load_model(model)
        atoms, i = read_start(structure, start, learned)
        result, text = barrier(learned, atoms, (i, end), images, fmax, steps, reference)
    except (BarrierError, FrameError, ModelError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(text)
    if plot is not None:
        from leopold_model.plots import hop_barrier

        hop_barrier(plot, result)
    if as_json:
        click.echo(json.dumps(result))


def read_start(structure: Path, start: int | None, model: Model) -> tuple[Atoms, int]:
    """The structure and the atom that carries; FrameError, ModelError or BarrierError when it cannot be used."""
    if structure.name.removesuffix(".gz").endswith((".h5", ".hdf5", ".xyz", ".extxyz")):
        frames = read_frames(structure)
        if not frames:
            raise FrameError(f"{structure} holds no frame: give one with the carrier on its site")
        frame = frames[0]
        if frame.carrier_sites:
            model.must_fit([frame], str(structure))
    else:
        try:
            atoms: Atoms = read(structure)  # type: ignore[assignment]
        except Exception as error:  # ASE raises a dozen kinds
            raise FrameError(f"{structure}: not a readable structure file ({error})") from None
        frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, pbc=atoms.pbc)
    if model.n_carriers != 1:
        raise BarrierError(f"{model.n_carriers} carriers: the barrier of a hop is that of one; use a model of one")
    if start is None and not frame.carrier_sites:
        raise BarrierError(f"{structure} does not say where the carrier is (carrier_sites): give its atom with --from")
    model.species_index(frame.numbers)
    model.must_serve(frame.cell, frame.pbc)
    atoms = Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    return atoms, frame.carrier_sites[0] if start is None else start


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
) -> tuple[dict, str]:
    """The result for a machine and the same as text; BarrierError when the hop has no barrier to give."""
    from leopold_model.calculator import LeopoldCalculator

    check_sites(atoms, sites)
    i, j = sites
    # small differences of large energies: single precision would show in the forces at fmax
    surface = learned_surface(atoms, LeopoldCalculator(model, [i], dtype="float64"))
    start = relax(surface, atoms, i, fmax, steps)
    crystal = site_map(start, chemical_symbols[atoms.numbers[i]])
    turned = None if crystal is None else image_on(crystal, i, j)
    guess = start.copy()
    if turned is not None:
        guess.positions += turned
    # without an operation that takes i to j, the carrier has to dig itself in anew from where the atoms are
    end = relax(surface, guess, j, fmax, steps)
    line, crossing = linear_path(surface, start, end, sites, n_images)
    path, search = minimum_energy_path(surface, start, end, sites, n_images, fmax, steps)
    other = None
    if reference is not None:
        try:
            other = linear_path(standin_surface(atoms), start, end, sites, n_images)
        except ValueError as error:
            raise BarrierError(f"--reference {reference}: {error}") from None
    result = {
        "sites": [i, j],
        "species": str(atoms.symbols[i]),
        "carrier": model.carrier,
        **_hop(start, end, crystal, sites),
        **_line(line, crossing),
        # an unfinished band has no top to speak of; its points are in "neb" all the same
        "barrier_neb_eV": path.barrier if search.converged else None,
        "neb": {
            "converged": search.converged,
            "steps": search.steps,
            "largest_force_eV_per_Angstrom": search.force,
            "images_without_state": search.without_state,
            **_columns(path),
        },
        "reference": None if other is None else {"name": reference, **_line(*other)},
    }
    return result, table(result, line, crossing, path, search, other)


def _hop(start: Atoms, end: Atoms, crystal: SiteMap | None, sites: tuple[int, int]) -> dict:
    """Between which sites, by name where the crystal is perfect; `path_length` is that of the whole lattice."""
    i, j = sites
    if crystal is None:
        name, distance = None, float(start.get_distance(i, j, mic=True))
    else:
        distance = crystal.distance(i, j)
        key = (int(crystal.sublattice[i]), int(crystal.sublattice[j]), *map(int, crystal.shortest(i, j)[0]))
        # a supercell a little strained against its host has its hops a little longer
        name = enumerate_pathways(crystal.host, 1.05 * distance).by_key[key].name
    length = float(np.linalg.norm(displacement(start, end)))
    return {"pathway": name, "distance_Angstrom": distance, "path_length_Angstrom": length}


def _line(path: HopPath, crossing: Crossing) -> dict:
    return {
        "barrier_linear_eV": max(path.barrier, crossing.energy),
        "reaction_energy_eV": path.reaction_energy,
        "verdict": crossing.verdict,
        "crossing": {
            "s": crossing.point.s,
            "energy_eV": crossing.energy,
            "share_told_i": crossing.point.shares[0],
            "share_told_j": crossing.point.shares[1],
            "jump": crossing.jump,
        },
        **_columns(path),
    }


def _columns(path: HopPath) -> dict:
    """`moments` is (k, 2, 2): point, told site, site."""
    energies = path.energies
    return {
        "s": path.s.tolist(),
        "energy_i": energies[:, 0].tolist(),
        "energy_j": energies[:, 1].tolist(),
        "energy_lower": path.lower.tolist(),
        "on_j": [bool(p.on_j) for p in path.points],
        "moments": path.moments.tolist(),
    }


# ---------------------------------------------------------------------------------------------------------------- text


def table(
    result: dict,
    line: HopPath,
    crossing: Crossing,
    path: HopPath,
    search: Search,
    other: tuple[HopPath, Crossing] | None,
) -> str:
    """The result as plain text, energies in eV."""
    i, j = result["sites"]
    where = result["pathway"] or f"{result['distance_Angstrom']:.2f} A"
    lines = [f"{result['carrier']} from {result['species']} {i} to {j}, {where}", ""]
    lines += ["straight line between the relaxed ends", *_rows(line, (i, j)), _said(crossing, j), ""]
    lines += ["minimum-energy path (climbing-image NEB)", *_rows(path, (i, j))]
    if search.converged:
        lines.append(f"converged in {search.steps} steps")
    else:
        remedy = "allow more --steps"
        if search.without_state:
            remedy = (
                f"at {search.without_state} images the carrier stays on neither site, where a model may extrapolate: "
                "allow more --steps, or train it on frames of this hop"
            )
        lines.append(f"NOT CONVERGED: largest force {search.force:.3g} eV/A after {search.steps} steps; {remedy}")
    if other is not None:
        lines += ["", "reference: the stand-in on the same straight line", *_rows(other[0], (i, j))]
        lines.append(_said(other[1], j))
    beside = result["reference"]
    lines += ["", f"{'':24}{'model':>10}" + (f"{beside['name']:>10}" if beside else "")]
    for label, key in (
        ("barrier, straight line", "barrier_linear_eV"),
        ("barrier, NEB", "barrier_neb_eV"),
        ("reaction energy", "reaction_energy_eV"),
    ):
        own = f"{result[key]:10.4f}" if result[key] is not None else f"{'none':>10}"
        extra = f"{beside[key]:10.4f}" if beside and key in beside else ""
        lines.append(f"{label:24}{own}{extra}")
    return "\n".join(lines)


def _rows(path: HopPath, sites: tuple[int, int]) -> list[str]:
    """A star marks the lower surface, brackets an energy whose carrier does not stay."""
    i, j = sites
    head = f"{'E':>9} {f'm({i})':>8} {f'm({j})':>8}"
    lines = [f"{'':6} {f'told {i}':^29} {f'told {j}':^29}", f"{'s':>6}  {head}    {head}"]
    for point, energies in zip(path.points, path.energies, strict=True):
        cells = []
        for k in (0, 1):
            energy = f"{energies[k]:.4f}" if point.stays[k] else f"({energies[k]:.4f})"
            star = "*" if point.on_j == k else " "
            cells.append(f"{energy:>9} {point.moments[k, 0]:8.3f} {point.moments[k, 1]:8.3f} {star}")
        lines.append(f"{point.s:6.3f}  {'  '.join(cells)}".rstrip())
    return lines


def _said(crossing: Crossing, j: int) -> str:
    a, b = crossing.point.shares
    return (
        f"crossing at s = {crossing.point.s:.3f}, {crossing.energy:.4f} eV: share of {j} {a:.2f} and {b:.2f}, "
        f"{VERDICTS[crossing.verdict]}"
    )
