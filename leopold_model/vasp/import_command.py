"""`leopold import-vasp`: what a VASP run folder or one of its files holds, as JSON, as a table, as frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from leopold_model.frames import Frame, write_frames
from leopold_model.vasp.run import Run, Step, VaspError, at_thermostat, frames, localised_sites, n_carriers
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
    lines = [f"VASP {run.version or '?'}, atoms: {run.n_atoms}, complete steps: {len(run.complete_steps)}", ""]
    lines.append(
        f"{'step':>6} {'SCF':>5} {'energy (eV)':>16} {'max F (eV/A)':>13} {'cell m':>8}  "
        "carriers (atom, from 0: moment in mu_B)"
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
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="One JSON object instead of a table; of several runs, by path.")
@click.option("--frames", "out", type=click.Path(path_type=Path), help="Write complete steps as frames (.h5, .xyz).")
@click.option("--carrier", type=click.Choice(["electron", "hole"]), help="For --frames; default: from NELECT.")
@click.option("--carriers", "n", type=click.IntRange(min=0), help="Their number, for --frames; default: from NELECT.")
@click.option("--run", "names", multiple=True, help="For --frames: its name, one for each PATH; default: its folder.")
@click.option("--last", is_flag=True, help="For --frames: of each run the last complete step, to start dynamics from.")
def command(
    paths: tuple[Path, ...],
    json_: bool,
    out: Path | None,
    carrier: str | None,
    n: int | None,
    names: tuple[str, ...],
    last: bool,
):
    """Read the VASP run in each PATH: a folder, or an OUTCAR, vaspout.h5 or vasprun.xml, also compressed, killed or
    cut.

    In a folder each quantity comes from the first of these files that holds it. With --frames the runs become one file
    of frames; they must be of one level of theory. Exit code 1 if a run has not one complete ionic step.

    Example: leopold import-vasp 1200K 1500K --frames train.h5
    """
    try:
        runs = [read_run(path) for path in paths]
        made: list[list[Frame]] = []
        if out is not None and all(run.complete_steps for run in runs):
            named = run_names(runs, names)
            same_level(runs)
            made = [_frames(run, name, carrier, n) for run, name in zip(runs, named, strict=True)]
            write_frames(out, [frame for steps in made for frame in (steps[-1:] if last else steps)])
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if json_:
        told = {str(path): as_json(run) for path, run in zip(paths, runs, strict=True)}
        click.echo(json.dumps(told if len(paths) > 1 else as_json(runs[0])))
    elif made:
        click.echo("\n".join(as_lines(run, steps) for run, steps in zip(runs, made, strict=True)))
        click.echo(f"{out}: {len(made) if last else sum(map(len, made))} frames")
    else:
        click.echo("\n\n".join(as_table(run) for run in runs))
    if not all(run.complete_steps for run in runs):
        raise SystemExit(1)


def run_names(runs: list[Run], names: tuple[str, ...]) -> list[str]:
    """What each run is called: its folder, where `names` are not given; data are split by run."""
    if names and len(names) != len(runs):
        raise VaspError(f"{len(names)} names for {len(runs)} runs: give one --run for each PATH")
    found = list(names) or [Path(run.path).resolve().parent.name for run in runs]
    twice = [name for name in found if found.count(name) > 1]
    if twice:
        raise VaspError(f"two runs are called {twice[0]!r}: name them by one --run for each PATH")
    return found


def same_level(runs: list[Run]) -> None:
    """VaspError where the runs differ in what OUTCAR tells of the level of theory: their energies do not belong
    together. POTCARs of one valence and k-points are not compared."""
    first, *others = [(run, _level(run)) for run in runs]
    for run, level in others:
        for tag in level.keys() & first[1].keys():
            if level[tag] != first[1][tag]:
                raise VaspError(
                    f"{run.path}: {tag} is {level[tag]:g}, in {first[0].path} {first[1][tag]:g}: energies of different "
                    "levels of theory are no data set; make one file of each"
                )


def _level(run: Run) -> dict[str, float]:
    """By tag and species, as far as the file tells."""
    found = {"ENCUT": run.encut} if run.encut else {}
    species = list(dict.fromkeys(run.symbols))
    rows: dict[str, Sequence[float]] = {
        "LDAUL": run.ldau_l, "LDAUU": run.ldau_u, "LDAUJ": run.ldau_j, "ZVAL": run.valences,
    }  # fmt: skip
    for tag, values in rows.items():
        if len(values) == len(species):
            found |= {f"{tag} of {kind}": value for kind, value in zip(species, values, strict=True)}
    return found


def _frames(run: Run, name: str, carrier: str | None, n: int | None) -> list[Frame]:
    if run.occ_banner and run.occ_banner.imposed:
        raise VaspError(f"{run.path}: occupations were imposed here; make frames from the run that released them")
    excess = run.excess_electrons
    if carrier is None:
        if not excess:
            raise VaspError(f"{run.path}: NELECT leaves the cell neutral or is unknown; say --carrier electron or hole")
        carrier = "electron" if excess > 0 else "hole"
    count = n_carriers(run, run.complete_steps[-1]) if n is None else n
    made = at_thermostat(frames(run, carrier=carrier, n_carriers=count, run_name=name, source="import"), run)
    if not made:
        raise VaspError(f"{run.path}: no step has all of energy, forces and moments; {'; '.join(run.problems)}")
    if spread_out(made) > len(made) / 2:
        raise VaspError(
            f"{run.path}: the carrier is spread out in {spread_out(made)} of {len(made)} steps: the atom it would be "
            "put on means nothing; give runs with a localised one, or say --carriers 0"
        )
    return made


def spread_out(made: list[Frame]) -> int:
    """Frames in which not every carrier has a site of its own."""
    return sum(localised_sites(f.moments, len(f.carrier_sites)) != f.carrier_sites for f in made)


def as_lines(run: Run, made: list[Frame]) -> str:
    """A run as frames, in a line, then what is wrong with it."""
    first = made[0]
    parts = [f"{first.run}: {len(made)} frames", f"{len(first.carrier_sites)} {first.carrier}"]
    if np.isfinite(first.temperature):
        parts.append(f"{np.mean([f.temperature for f in made]):.0f} K")
    for number, what in ((spread_out(made), "with the carrier spread out"), (_unconverged(made), "not converged")):
        if number:
            parts.append(f"{number} {what}")
    return "\n".join([", ".join(parts), *(f"! {problem}" for problem in run.problems)])


def _unconverged(made: list[Frame]) -> int:
    return sum(not f.converged for f in made)
