"""What is told of one hop: plain data for machines and for the figure (`plots.hop_barrier`), a table for readers.

A line has, for the points of a path, `s`; energies (eV) `energy_i`, `energy_j` of the carrier told on either site and
`energy_lower` of the lower surface, relative to its start; `on_j`, whether that surface is the one told j; `moments`
(k, 2, 2): point, told site, site; `stays`, whether each state keeps its carrier. What a reference did not answer is
None.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from leopold_model.analysis.pathways import enumerate_pathways
from leopold_model.analysis.sites import SiteMap
from leopold_model.barrier import Crossing, HopPath, Search

VERDICTS = {
    "adiabatic": "adiabatic, the moment passes over continuously",
    "diabatic": "diabatic, the moment jumps",
    None: "neither state was answered on both sides: no verdict",
}


def between(atoms: Atoms, crystal: SiteMap | None, sites: tuple[int, int]) -> dict:
    """Which sites of `atoms` the hop joins, by the name of its pathway where the crystal is perfect."""
    i, j = sites
    if crystal is None:
        name, distance = None, float(atoms.get_distance(i, j, mic=True))
    else:
        distance = crystal.distance(i, j)
        key = (int(crystal.sublattice[i]), int(crystal.sublattice[j]), *map(int, crystal.shortest(i, j)[0]))
        # a supercell a little strained against its host has its hops a little longer
        name = enumerate_pathways(crystal.host, 1.05 * distance).by_key[key].name
    return {"sites": [i, j], "species": str(atoms.symbols[i]), "pathway": name, "distance_Angstrom": distance}


def line(path: HopPath, crossing: Crossing) -> dict:
    """The straight line with both states known everywhere."""
    return {
        "barrier_linear_eV": max(path.barrier, crossing.energy),
        "reaction_energy_eV": path.reaction_energy,
        "verdict": crossing.verdict,
        "crossing": at_crossing(crossing),
        **columns(path),
    }


def at_crossing(crossing: Crossing) -> dict:
    """What is told of the crossing, JSON-ready."""
    return {
        "s": crossing.point.s,
        "energy_eV": crossing.energy,
        "share_told_i": crossing.point.shares[0],
        "share_told_j": crossing.point.shares[1],
        "jump": crossing.jump,
    }


def neb(path: HopPath, search: Search) -> dict:
    """The minimum-energy path, converged or not."""
    return {
        "converged": search.converged,
        "steps": search.steps,
        "largest_force_eV_per_Angstrom": search.force,
        "images_without_state": search.without_state,
        **columns(path),
    }


def columns(path: HopPath) -> dict:
    """Both surfaces along the path by column, JSON-ready."""
    energies = path.energies
    return {
        "s": path.s.tolist(),
        "energy_i": energies[:, 0].tolist(),
        "energy_j": energies[:, 1].tolist(),
        "energy_lower": path.lower.tolist(),
        "on_j": [bool(p.on_j) for p in path.points],
        "moments": path.moments.tolist(),
        "stays": [list(p.stays) for p in path.points],
    }


def deviation(model: Mapping, reference: Mapping) -> dict:
    """How far the line of a model is from that of a reference at the same geometries: largest and root-mean-square
    difference of energies (meV) and of the moments on both sites (mu_B), over `n` points.

    Compared are the lower surfaces, or the state that the reference answered where it is one only; and the moments of
    the state told what the reference's lower one was told, for at a crossing of equals either may be the lower.
    """
    energies, moments = [], []
    for k, lower in enumerate(reference["energy_lower"]):
        if lower is None:
            continue
        told = int(reference["on_j"][k])
        both = reference["energy_i"][k] is not None and reference["energy_j"][k] is not None
        own = int(model["on_j"][k]) if both else told
        energies.append(1e3 * (model[("energy_i", "energy_j")[own]][k] - lower))
        moments.append(np.subtract(model["moments"][k][told], reference["moments"][k][told]))
    found: dict = {"n": len(energies)}
    for name, values in (("energy_meV", energies), ("moment_muB", moments)):
        found[name] = {"largest": float(np.abs(values).max()), "rms": float(np.sqrt(np.mean(np.square(values))))}
    return found


# ---------------------------------------------------------------------------------------------------------------- text


def table(result: Mapping) -> str:
    """The result as plain text, energies in eV."""
    i, j = result["sites"]
    where = result["pathway"] or f"{result['distance_Angstrom']:.2f} A"
    lines = [f"{result['carrier']} from {result['species']} {i} to {j}, {where}", ""]
    lines += [f"straight line between the {result['ends']} ends", *_rows(result, (i, j)), _said(result, j)]
    if result["neb"] is None:
        lines += ["", f"no minimum-energy path: {result['neb_missing']}"]
    else:
        lines += ["", "minimum-energy path (climbing-image NEB)", *_rows(result["neb"], (i, j)), _search(result["neb"])]
    beside = result["reference"]
    if beside is not None:
        lines += ["", f"reference: {beside['name']} on the same straight line", *_rows(beside, (i, j))]
        lines.append(_said(beside, j))
        energy, moment = result["deviation"]["energy_meV"], result["deviation"]["moment_muB"]
        lines.append(
            f"model off by at most {energy['largest']:.1f} meV ({energy['rms']:.1f} rms) and "
            f"{moment['largest']:.3f} mu_B ({moment['rms']:.3f} rms)"
        )
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


def _rows(path: Mapping, sites: tuple[int, int]) -> list[str]:
    """A star marks the lower surface, brackets an energy whose carrier does not stay."""
    i, j = sites
    head = f"{'E':>9} {f'm({i})':>8} {f'm({j})':>8}"
    lines = [f"{'':6} {f'told {i}':^29} {f'told {j}':^29}", f"{'s':>6}  {head}    {head}"]
    for s, *energies, on_j, moments, stays in zip(
        *(path[key] for key in ("s", "energy_i", "energy_j", "on_j", "moments", "stays")), strict=True
    ):
        cells = []
        for k, energy in enumerate(energies):
            if energy is None:
                cells.append(f"{'-':>9} {'-':>8} {'-':>8}  ")
                continue
            text = f"{energy:.4f}" if stays[k] else f"({energy:.4f})"
            star = "*" if on_j == k else " "
            cells.append(f"{text:>9} {moments[k][0]:8.3f} {moments[k][1]:8.3f} {star}")
        lines.append(f"{s:6.3f}  {'  '.join(cells)}".rstrip())
    return lines


def _search(found: Mapping) -> str:
    if found["converged"]:
        return f"converged in {found['steps']} steps"
    remedy = "allow more --steps"
    if found["images_without_state"]:
        remedy = (
            f"at {found['images_without_state']} images the carrier stays on neither site, where a model may "
            "extrapolate: allow more --steps, or train it on frames of this hop"
        )
    force, steps = found["largest_force_eV_per_Angstrom"], found["steps"]
    return f"NOT CONVERGED: largest force {force:.3g} eV/A after {steps} steps; {remedy}"


def _said(path: Mapping, j: int) -> str:
    at = path["crossing"]
    if at is None:
        return VERDICTS[None]
    return (
        f"crossing at s = {at['s']:.3f}, {at['energy_eV']:.4f} eV: share of {j} {at['share_told_i']:.2f} and "
        f"{at['share_told_j']:.2f}, {VERDICTS[path['verdict']]}"
    )
