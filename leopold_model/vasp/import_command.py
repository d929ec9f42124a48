"""`leopold import-vasp`: what a VASP run folder or one of its files holds, as JSON, as a table, as frames."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from leopold_model.frames import write_frames
from leopold_model.vasp.run import Run, Step, VaspError, frames, localised_sites, n_carriers
from leopold_model.vasp.sources import read_run


def as_json(run: Run) -> dict:
    """`version`, `steps` and `problems` of a run; lists per atom are in the order of POSCAR, atoms count from 0.

    Per step: `index` (VASP's, from 1), `complete`, `converged`, `energy` (eV, force-consistent), `max_force`
    (eV/Angstrom), `moments` (mu_B, as printed), `occupations` ([up, down] per atom, as printed, or made from the tables
    of charges and moments, which `problems` then says) and `carrier_sites`. What the file does not hold is null.

    The number of carriers is what NELECT adds to or takes from the neutral cell, else the rounded moment of the cell; a
    site counts as one's seat if its |moment| is among the largest, above 0.3 mu_B, and above half of the largest, so
    that a delocalised carrier has none.
    """
    return {"version": run.version, "steps": [_step(run, step) for step in run.steps], "problems": run.problems}


def _step(run: Run, step: Step) -> dict:
    return {
        "index": step.index,
        "complete": step.complete,
        "converged": step.converged,
        "energy": step.energy if np.isfinite(step.energy) else None,
        "max_force": step.max_force,
        "moments": _listed(step.moments),
        "occupations": _listed(step.occupations),
        "carrier_sites": list(localised_sites(step.moments, n_carriers(run, step))),
    }


def _listed(array: np.ndarray | None) -> list | None:
    """Nested lists, null for a number that overflowed its column."""
    if array is None:
        return None
    listed = array.astype(object)
    listed[~np.isfinite(array)] = None
    return listed.tolist()


def as_table(run: Run) -> str:
    """The same for people: one line per step, then the problems."""
    lines = [f"VASP {run.version or '?'}, {run.n_atoms} atoms, {len(run.complete_steps)} complete steps", ""]
    lines.append(
        f"{'step':>6} {'SCF':>5} {'energy (eV)':>16} {'max F (eV/A)':>13} {'cell m':>8}  carriers (atom: moment)"
    )
    for step in run.steps:
        if not step.complete:
            lines.append(f"{step.index:6d}  incomplete")
            continue
        force = "-" if step.max_force is None else f"{step.max_force:.4f}"
        moment = "-" if step.cell_moment is None else f"{step.cell_moment:.3f}"
        sites = localised_sites(step.moments, n_carriers(run, step))
        where = ", ".join(f"{i}: {step.moments[i]:+.3f}" for i in sites) or "none"  # type: ignore[index]
        if step.moments is None:
            where = "no moments"
        unconverged = "" if step.converged else "  NOT CONVERGED"
        lines.append(
            f"{step.index:6d} {step.n_electronic:5d} {step.energy:16.6f} {force:>13} {moment:>8}  {where}{unconverged}"
        )
    lines += ["", *(f"! {problem}" for problem in run.problems)]
    return "\n".join(lines).rstrip()


@click.command(name="import-vasp")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--frames", "out", type=click.Path(path_type=Path), help="Write the complete steps as frames (.h5, .xyz)."
)
@click.option("--carrier", type=click.Choice(["electron", "hole"]), help="For --frames; default: from NELECT.")
@click.option("--carriers", "n", type=click.IntRange(min=0), help="Their number, for --frames; default: from NELECT.")
def command(path: Path, json_: bool, out: Path | None, carrier: str | None, n: int | None):
    """Read the VASP run in PATH: a folder, or an OUTCAR, vaspout.h5 or vasprun.xml, also compressed, killed or cut.

    In a folder each quantity comes from the first of these files that holds it. Exit code 1 if not one complete ionic
    step is found.

    Example: leopold import-vasp RUN_FOLDER --frames frames.h5
    """
    try:
        run = read_run(path)
        if out is not None and run.complete_steps:
            _write(run, out, carrier, n)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(as_json(run)) if json_ else as_table(run))
    if not run.complete_steps:
        raise SystemExit(1)


def _write(run: Run, out: Path, carrier: str | None, n: int | None) -> None:
    if run.occ_banner and run.occ_banner.imposed:
        raise VaspError(f"{run.path}: occupations were imposed here; make frames from the run that released them")
    excess = run.excess_electrons
    if carrier is None:
        if not excess:
            raise VaspError(f"{run.path}: NELECT leaves the cell neutral or is unknown; say --carrier electron or hole")
        carrier = "electron" if excess > 0 else "hole"
    count = n_carriers(run, run.complete_steps[-1]) if n is None else n
    name = Path(run.path).resolve().parent.name
    made = frames(run, carrier=carrier, n_carriers=count, run_name=name, source="import")
    if not made:
        raise VaspError(f"{run.path}: no step has all of energy, forces and moments; {'; '.join(run.problems)}")
    write_frames(out, made)
