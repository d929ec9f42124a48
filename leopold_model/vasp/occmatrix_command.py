"""`leopold occmatrix`: the occupations of a run's own carrier as OCCMATRIX, on its site or on an equivalent one."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from ase.data import atomic_numbers

from leopold_model.analysis.sites import SiteMap, host_from_dynamics, map_sites
from leopold_model.vasp.occmatrix import ORBITALS, carrier_orbital, write_occmatrix
from leopold_model.vasp.poscar import read_poscar
from leopold_model.vasp.run import Run, Step, VaspError
from leopold_model.vasp.template import Shell, Template, carrier_shells, last_state, perfect_crystal


@click.command(name="occmatrix")
@click.argument("outcar", type=click.Path(path_type=Path))
@click.option("--site", type=click.IntRange(min=0), help="Atom to harvest, from 0; default: where the carrier sits.")
@click.option("--onto", type=click.IntRange(min=0), multiple=True, help="Atom to put it on, from 0; may be repeated.")
@click.option("--host", type=click.Path(path_type=Path), help="POSCAR of the perfect crystal; default: guessed.")
@click.option(
    "--structure",
    type=click.Path(path_type=Path),
    help="POSCAR to be run, whose distortion chooses.",
)
@click.option("--orientation", type=click.IntRange(min=1), default=1, help="Take the n-th that symmetry allows.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("OCCMATRIX"), show_default=True)
def command(
    outcar: Path,
    site: int | None,
    onto: tuple[int, ...],
    host: Path | None,
    structure: Path | None,
    orientation: int,
    output: Path,
):
    """Write OCCMATRIX from the carrier's own occupations in the last step of OUTCAR (also .gz), a released run.

    Onto another site they are turned with the crystal. Where its symmetry leaves several orientations (p_x, p_y and
    p_z of a cubic site), the first is the one that fits the distortion of --structure, and without that the one that
    turns the orbital least; --orientation takes another.

    Example: leopold occmatrix OUTCAR --onto 12
    """
    try:
        run, step = last_state(outcar)
        shells = carrier_shells(run, step, None if site is None else (site,))
        if len(shells) > 1:
            raise VaspError(f"{outcar}: carriers on atoms {', '.join(map(str, shells))}; choose one with --site")
        ((site, shell),) = shells.items()
        said = [f"harvested from atom {site}: {_described(shell)}"]
        matrices = {site: shell}
        if onto or structure or orientation > 1:
            template = _template(run, step, shells, host)
            target = None if structure is None else _mapped(template, structure)
            matrices = {}
            for atom in onto or (site,):
                found = template.onto(atom, target)
                if orientation > len(found):
                    raise VaspError(f"--orientation {orientation}: atom {atom} has {len(found)}; give one of them")
                matrices[atom] = found[orientation - 1]
                said.append(f"onto atom {atom}, {orientation} of {len(found)}: {_described(matrices[atom])}")
        write_occmatrix(output, matrices)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join([*said, f"{output}: written"]))


def _template(run: Run, step: Step, shells: dict[int, Shell], host: Path | None) -> Template:
    """The shells with the structure of their step and the host, which without a file is the crystal behind that."""
    if step.positions is None or step.cell is None or "X" in run.symbols or len(run.symbols) != run.n_atoms:
        raise VaspError(f"{run.path}: no positions or species, so that sites cannot be mapped; set NWRITE = 2")
    numbers = np.array([atomic_numbers[symbol] for symbol in run.symbols])
    species = run.symbols[min(shells)]
    if host is None:
        crystal = host_from_dynamics(numbers, step.positions, step.cell, sublattice=species)
    else:
        crystal = perfect_crystal(read_poscar(host)[0], species)
    return Template(crystal, numbers, step.positions, step.cell, shells)


def _mapped(template: Template, structure: Path) -> SiteMap:
    atoms, _ = read_poscar(structure)
    return map_sites(template.host, atoms.numbers, atoms.positions, atoms.cell.array)


def _described(shell: Shell) -> str:
    """The orbital the carrier is in and the moment that stands in it."""
    degree, up, down = shell
    vector, moment = carrier_orbital(up, down)
    names = (f"{c:+.2f} {name}" for c, name in zip(vector, ORBITALS[degree], strict=True) if abs(c) > 0.05)
    return f"{moment:+.3f} mu_B in {' '.join(names)}"
