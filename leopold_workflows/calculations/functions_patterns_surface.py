"""Calcfunctions of annealed patterns: correlations, ranking with motifs, measured positions, starts of dynamics."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from leopold_model.config import parse
from leopold_model.patterns.annealing import Patterns
from leopold_model.patterns.correlation import autocorrelation
from leopold_model.patterns.lattice import Lattice
from leopold_model.patterns.measured import measured_correlation, read_measured
from leopold_model.patterns.motifs import motifs
from leopold_model.patterns.starts import starting_frames
from leopold_workflows.calculations.functions_patterns import read_lattice
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData, PatternRunData
from leopold_workflows.pattern_settings import SurfaceSettings

MOTIFS = 7.0  # Angstrom, longest pair that is counted


def counted(lattice: Lattice, settings: SurfaceSettings) -> tuple[str, str]:
    """The defect whose spacing is measured, and the label of its sites."""
    species = settings.species or next(s.name for s in lattice.species if s.kind != "carrier")
    lattice.code(species)
    return species, settings.label or next(k for k, held in lattice.allowed.items() if species in held)


@calcfunction
def correlations_of(settings: orm.Dict, **runs: PatternRunData) -> orm.Dict:
    """By the name of each run, the autocorrelation of its defects where the chains ended, with errors over chains; the
    `peak` distance in each row; and the motifs."""
    wanted = parse(settings.get_dict(), SurfaceSettings)
    found = {}
    for name in sorted(runs):
        run = runs[name].get_patterns()
        species, label = counted(run.instance.lattice, wanted)
        rows = tuple(range(wanted.rows))
        acf = autocorrelation(run.supercell, run.last, label, species, axis=wanted.axis, rows=rows)
        found[name] = acf.to_dict() | {
            "peak": [acf.peak(k) for k in range(len(rows))],
            "motifs": [m.to_dict() for m in motifs(run.supercell, run.last, cutoff=MOTIFS)],
        }
    return orm.Dict(found)


@calcfunction
def ranking_of(settings: orm.Dict, labels: PatternLabelsData | None = None, **runs: PatternRunData) -> orm.Dict:
    """By the name of each run, its distinct configurations of lowest energy: `energy_eV` above the first, number of
    equivalent ones (`degeneracy`), pairs of defects within 7 Angstrom by kind and distance (`motifs`), the pattern of
    `defects` without carriers; where `labels` has it, the confirmed energy above the lowest label that is ranked."""
    wanted = parse(settings.get_dict(), SurfaceSettings)
    confirmed = {}
    for group in labels.get_labels().groups if labels is not None else ():
        confirmed |= dict(zip(group.keys, group.energies.tolist(), strict=True))
    tables = {name: _ranked(runs[name].get_patterns(), wanted.ranked, confirmed) for name in sorted(runs)}
    return orm.Dict(tables)


def _ranked(run: Patterns, n: int, confirmed: dict[str, float]) -> list[dict]:
    cell, best = run.supercell, {}
    for k in np.argsort(run.lowest_energies, kind="stable"):
        best.setdefault(cell.key(run.lowest[k]), int(k))
    rows = []
    for rank, (key, k) in enumerate(list(best.items())[:n], start=1):
        row = run.lowest[k]
        rows.append(
            {
                "rank": rank,
                "key": key,
                "energy_eV": float(run.lowest_energies[k] - run.lowest_energies.min()),
                "degeneracy": cell.degeneracy(row),
                "defects": cell.key(cell.without_carriers(row)),
                "motifs": {
                    f"{m.pair} {m.distance:.2f} A": round(m.count) for m in motifs(cell, row, cutoff=MOTIFS) if m.count
                },
                "confirmed_eV": confirmed.get(key),
                "occupations": row.tolist(),
            }
        )
    known = [row["confirmed_eV"] for row in rows if row["confirmed_eV"] is not None]
    for row in rows:
        row["confirmed_eV"] = None if row["confirmed_eV"] is None else row["confirmed_eV"] - min(known)
    return rows


@calcfunction
def starts_of(run: PatternRunData, settings: orm.Dict) -> dict:
    """Structures with carrier sites to begin dynamics from: the `lowest` of the chains, and what they `sampled`, draws
    from the Boltzmann distribution at the temperature they ended at. Inputs of leopold.seed.configurations."""
    limit = parse(settings.get_dict(), SurfaceSettings).starts
    patterns = run.get_patterns()
    found = {"lowest": starting_frames(patterns, "lowest", limit), "sampled": starting_frames(patterns, "last", limit)}
    return {name: FrameSetData.from_frames(frames) for name, frames in found.items()}


@calcfunction
def measured_of(measured: orm.SinglefileData, lattice: orm.SinglefileData, settings: orm.Dict) -> orm.Dict:
    """The correlation function of measured positions (CSV, `x` and `y` in Angstrom)."""
    wanted = parse(settings.get_dict(), SurfaceSettings)
    positions = read_measured(measured.get_content().splitlines(), measured.filename)
    found = measured_correlation(
        read_lattice(lattice).lattice, positions, axis=wanted.axis, rows=tuple(range(wanted.rows))
    )
    plain = found.to_dict()
    for key in ("values", "errors"):
        plain[key] = [[None if np.isnan(v) else v for v in row] for row in plain[key]]
    return orm.Dict(plain)
