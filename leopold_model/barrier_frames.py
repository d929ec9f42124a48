"""The line of a hop as frames, to be labelled by a reference, and the labels as a line again.

At every geometry the reference is asked with the carrier told on i, told on j, or both (`told`). A state it gave no
answer for is left open: the lower surface is that of the answers there are, and a verdict needs both states at an image
next to the crossing, which is known to the spacing of the images only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms

from leopold_model import barrier_report
from leopold_model.barrier import BarrierError, Crossing, HopPath, Point, State, displacement
from leopold_model.frames import Frame

BRANCHES = ("both", "nearest")


def told(n_images: int, branches: str) -> list[tuple[int, ...]]:
    """Which of the two sites each image is asked with: 'both', or that of the nearer end ('nearest'; both half way)."""
    if branches == "both":
        return [(0, 1)] * n_images
    middle = (n_images - 1) / 2
    return [(0, 1) if k == middle else (int(k > middle),) for k in range(n_images)]


def line_frames(
    start: Atoms, end: Atoms, sites: tuple[int, int], n_images: int, branches: str, carrier: str, pathway: str = ""
) -> list[Frame]:
    """Frames of the straight line from `start` (carrier on i) to `end` (on j), ends included; `step` is the image."""
    step = displacement(start, end)
    return [
        Frame(
            numbers=start.numbers,
            positions=start.positions + k / (n_images - 1) * step,
            cell=start.cell.array,
            pbc=start.pbc,
            carrier=carrier,
            carrier_sites=(sites[which],),
            requested_sites=(sites[which],),
            source="path",
            run=f"barrier-{sites[0]}-{sites[1]}",
            step=k,
            pathway=pathway,
        )
        for k, asked in enumerate(told(n_images, branches))
        for which in asked
    ]


def line_of_labels(asked: Sequence[Frame], labels: Sequence[Frame], sites: tuple[int, int]) -> dict:
    """The line (see `barrier_report`) that `labels`, matched by id, draw along the frames `asked`.

    Moments are those a model learns. BarrierError when the reference does not hold the carrier at an end of the path.
    """
    answers = {
        frame.label: State(frame.energy, np.asarray(frame.forces), np.asarray(frame.spin_moments))
        for frame in labels
        if frame.converged
    }
    known = {(f.step, sites.index(f.carrier_sites[0])): answers[f.id] for f in asked if f.id in answers}
    n = max(f.step for f in asked) + 1
    points: list[Point] = []
    answered: list[tuple[bool, bool]] = []
    for k in range(n):
        i, j = (known.get((k, which)) for which in (0, 1))
        if i is None and j is None:
            continue
        points.append(Point(k / (n - 1), sites, (i or j, j or i)))  # type: ignore[arg-type]
        answered.append((i is not None, j is not None))
    for s, which, name in ((0.0, 0, "start"), (1.0, 1, "end")):
        at = next((p for p in points if p.s == s), None)
        if at is None or not answered[points.index(at)][which]:
            raise BarrierError(f"the {name} of the path has no label with the carrier on atom {sites[which]}")
        if at.on_j != bool(which):
            raise BarrierError(f"at the {name} of the path the reference does not keep the carrier on {sites[which]}")
    path = HopPath(tuple(points))
    crossing = _crossing(path, answered)
    rest = [np.linalg.norm(points[k].states[k].forces, axis=1).max() for k in (0, -1)]
    return {
        "largest_force_at_ends_eV_per_Angstrom": [float(force) for force in rest],
        "barrier_linear_eV": path.barrier,
        "reaction_energy_eV": path.reaction_energy,
        "verdict": crossing and crossing.verdict,
        "crossing": crossing and barrier_report.at_crossing(crossing),
        **_columns(path, answered, n),
    }


def _crossing(path: HopPath, answered: Sequence[tuple[bool, bool]]) -> Crossing | None:
    """The image next to the passage from i to j at which the two states, both answered, differ most."""
    rising = [k for k, (a, b) in enumerate(pairwise(path.points)) if b.on_j and not a.on_j]
    first = max(rising, key=lambda k: path.lower[k] + path.lower[k + 1])
    near = [Crossing(path.points[k], float(path.lower[k])) for k in (first, first + 1) if all(answered[k])]
    return max(near, key=lambda crossing: crossing.jump, default=None)


def _columns(path: HopPath, answered: Sequence[tuple[bool, bool]], n: int) -> dict:
    """Columns of all `n` images, None where there is no answer."""
    found = barrier_report.columns(path)
    for row, known in enumerate(answered):
        for which, key in enumerate(("energy_i", "energy_j")):
            if not known[which]:
                found[key][row] = found["moments"][row][which] = found["stays"][row][which] = None
    rows = {round(s * (n - 1)): row for row, s in enumerate(found["s"])}
    filled = {key: [column[rows[k]] if k in rows else None for k in range(n)] for key, column in found.items()}
    empty = {"moments": [None, None], "stays": [None, None]}
    for key, value in empty.items():
        filled[key] = [value if entry is None else entry for entry in filled[key]]
    return filled | {"s": np.linspace(0.0, 1.0, n).tolist()}
