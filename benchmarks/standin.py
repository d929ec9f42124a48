"""The stand-in's own numbers, beside its prototype's: binding, barriers, energy conservation and hop rates.

    python benchmarks/standin.py static            # polaron binding and barriers of every parameter set
    python benchmarks/standin.py rates SET [T ps]  # hop rates, e.g. `rates mgo 600 15`
    python benchmarks/standin.py conservation SET  # NVE: energy jumps at hops and drift between them

Rates come from Langevin dynamics (1 fs, friction 1/ps after 2 ps at 5/ps); a hop is a change of the most populated
site, visits shorter than 20 fs dropped; errors are the counting error 1/sqrt(N). One core, one thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import minimize

from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.engine import Engine

BOLTZMANN = 8.617333262e-5  # eV/K
ACCELERATION = 9.648533212e-3  # Angstrom/fs^2 per (eV/Angstrom)/amu
DWELL = 20  # fs

CELLS = {"mgo": ("mgo", (2, 2, 2)), "mgo-sharp": ("mgo", (2, 2, 2)), "tio2": ("tio2", (2, 2, 3)),
         "anatase": ("anatase", (3, 3, 1))}  # fmt: skip
# distances of the hop classes whose barriers are computed, and the prototype's (lower branch, followed) in eV
PROTOTYPE = {
    ("mgo-sharp", (2, 2, 2)): (-0.44, {2.96: (0.172, 0.222), 4.18: (0.208, 0.246)}),
    ("mgo", (2, 2, 2)): (None, {2.96: None, 4.18: None, 5.12: None}),
    ("tio2", (2, 2, 3)): (-0.29, {2.99: (0.088, 0.088), 3.52: (0.204, 0.414), 4.50: (0.199, 0.428)}),
    ("tio2", (2, 2, 4)): (None, {2.99: None, 3.52: None, 4.50: None, 6.37: None}),
    ("anatase", (3, 3, 1)): (None, {3.03: None, 3.77: None, 4.83: None, 5.33: None, 5.45: None}),
}
# the default MgO set has no prototype of its own: it is tuned to the rates of the sharp one
PROTOTYPE_RATES = [
    ("tio2", (2, 2, 3), 386, 12, 3.7), ("tio2", (2, 2, 3), 586, 12, 7.6), ("tio2", (2, 2, 3), 904, 12, 11.9),
    ("tio2", (2, 2, 4), 593, 8, 3.1), ("mgo-sharp", (2, 2, 2), 382, 15, 0.5), ("mgo-sharp", (2, 2, 2), 562, 15, 2.3),
    ("mgo-sharp", (2, 2, 2), 845, 6, 8.5),
    ("mgo", (2, 2, 2), 382, 15, 0.5), ("mgo", (2, 2, 2), 562, 15, 2.3), ("mgo", (2, 2, 2), 845, 6, 8.5),
]  # fmt: skip


class System:
    """One ideal cell, its engine and its relaxed polarons."""

    def __init__(self, name: str, repeat=None, parameters=None):
        crystal, default = CELLS[name]
        self.name, self.repeat = name, tuple(repeat or default)
        self.atoms = ideal_cell(crystal, self.repeat)
        self.cell = self.atoms.cell.array
        self.engine = Engine(self.atoms.get_chemical_symbols(), parameters=parameters or name)
        self.site = int(self.engine.sites[0])

    def relax(self, positions, state, bias=None, force=1e-5):
        """Positions and result at a minimum, the electronic branch followed all the way."""
        last = [state]

        def energy(x):
            result = self.engine.evaluate(x.reshape(-1, 3), self.cell, last[0], bias=bias, tolerance=1e-9)
            last[0] = result.state
            return result.energy, -result.forces.ravel()

        options = {"maxiter": 500, "gtol": force, "ftol": 1e-15, "maxcor": 20}
        found = minimize(energy, positions.ravel(), jac=True, method="L-BFGS-B", options=options)
        x = found.x.reshape(-1, 3)
        return x, self.engine.evaluate(x, self.cell, last[0], tolerance=1e-9)

    def polaron(self, site):
        """Localise on `site` under a bias, release it, relax."""
        bias = np.where(np.arange(len(self.atoms)) == site, 1.0, 0.0)
        x, result = self.relax(self.atoms.positions, self.engine.start(bias), bias, force=1e-2)
        return self.relax(x, result.state)

    def neighbour(self, distance):
        apart = self.atoms.get_distances(self.site, list(self.engine.sites), mic=True)
        return int(self.engine.sites[np.flatnonzero(np.abs(apart - distance) < 0.05)[0]])

    def barrier(self, distance, images=61):
        """(lower branch, followed, largest population change between images) on the straight line between minima."""
        (xa, a), (xb, b) = self.polaron(self.site), self.polaron(self.neighbour(distance))
        points = [xa + t * (xb - xa) for t in np.linspace(0, 1, images)]

        def follow(points, state):
            results = []
            for x in points:
                results.append(self.engine.evaluate(x, self.cell, state, tolerance=1e-9))
                state = results[-1].state
            return np.array([r.energy for r in results]), np.array([r.populations[self.site] for r in results])

        (forward, n), (backward, _) = follow(points, a.state), follow(points[::-1], b.state)
        lower = np.minimum(forward, backward[::-1]).max()
        return lower - a.energy, forward.max() - a.energy, float(np.abs(np.diff(n)).max())


@dataclass
class Trajectory:
    sites: np.ndarray  # most populated site of each step
    population: np.ndarray
    temperature: float
    total: np.ndarray  # potential plus kinetic energy, eV
    seconds: float
    iterations: float


def dynamics(system, temperature, steps, *, friction=1e-3, equilibration=2000, seed=0, tolerance=1e-7) -> Trajectory:
    """BAOAB Langevin, 1 fs; `friction` 0 for the production part gives velocity Verlet."""
    rng = np.random.default_rng(seed)
    masses = system.atoms.get_masses()[:, None]
    thermal = np.sqrt(BOLTZMANN * temperature * ACCELERATION / masses)
    x, result = system.polaron(system.site)
    v = thermal * rng.normal(size=x.shape)
    v -= (masses * v).sum(0) / masses.sum()
    n = equilibration + steps
    sites, population, total, kinetic = (np.zeros(n, dtype=t) for t in (int, float, float, float))
    iterations = 0
    started = time.perf_counter()
    for step in range(n):
        gamma = 5e-3 if step < equilibration else friction
        v += 0.5 * ACCELERATION * result.forces / masses
        x = x + 0.5 * v
        if gamma:
            keep = np.exp(-gamma)
            v = keep * v + np.sqrt(1 - keep**2) * thermal * rng.normal(size=v.shape)
        x = x + 0.5 * v
        result = system.engine.evaluate(x, system.cell, result.state, tolerance=tolerance)
        v += 0.5 * ACCELERATION * result.forces / masses
        sites[step] = int(result.populations.argmax())
        population[step] = result.populations.max()
        kinetic[step] = 0.5 * float((masses * v**2).sum()) / ACCELERATION
        total[step] = result.energy + kinetic[step]
        iterations += result.n_iterations
    keep = slice(equilibration, None)
    mean = 2.0 * kinetic[keep].mean() / (3 * len(x) * BOLTZMANN)
    seconds = (time.perf_counter() - started) / n
    return Trajectory(sites[keep], population[keep], mean, total[keep], seconds, iterations / n)


def hops(sites, dwell=DWELL):
    """Pairs (from, to) after visits shorter than `dwell` steps are dropped."""
    edges = np.flatnonzero(np.diff(sites)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, len(sites)]
    kept = [sites[a] for a, b in zip(starts, ends, strict=True) if b - a >= dwell]
    return [(i, j) for i, j in pairwise(kept) if i != j]


def by_distance(system, pairs):
    return dict(sorted(Counter(round(float(system.atoms.get_distance(i, j, mic=True)), 2) for i, j in pairs).items()))


def static():
    print(f"{'set':<10}{'cell':<10}{'hop, A':>7}{'lower branch, eV':>18}{'followed':>10}{'max dn':>8}   prototype")
    for (name, repeat), (binding, classes) in PROTOTYPE.items():
        system = System(name, repeat)
        band = system.engine.evaluate(system.atoms.positions, system.cell).energy
        _, result = system.polaron(system.site)
        cell = "x".join(map(str, repeat))
        note = "" if binding is None else f"   prototype {binding}"
        print(f"{name:<10}{cell:<10}E_pol {result.energy - band:.3f} eV, n_max {result.populations.max():.3f}{note}")
        for distance, reference in classes.items():
            lower, followed, jump = system.barrier(distance)
            note = "" if reference is None else f"   {reference[0]:.3f} / {reference[1]:.3f}"
            print(f"{name:<10}{cell:<10}{distance:>7.2f}{lower:>18.3f}{followed:>10.3f}{jump:>8.2f}{note}", flush=True)


def rates(name, repeat, temperature, picoseconds, reference=None, seed=0):
    system = System(name, repeat)
    run = dynamics(system, temperature, int(1000 * picoseconds), seed=seed)
    found = hops(run.sites)
    raw = by_distance(system, [(run.sites[k], run.sites[k + 1]) for k in np.flatnonzero(np.diff(run.sites))])
    kept = by_distance(system, found)
    per_ps = len(found) / picoseconds
    note = "" if reference is None else f"(prototype {reference}) "
    print(
        f"{name} {len(system.atoms)} atoms, {run.temperature:.0f} K, {picoseconds} ps, seed {seed}: "
        f"{per_ps:.2f} +- {np.sqrt(max(len(found), 1)) / picoseconds:.2f} hops/ps {note}"
        f"\n    hops {kept}\n    raw changes {raw}; {1000 * run.seconds:.2f} ms/step, {run.iterations:.1f} iterations",
        flush=True,
    )


def conservation(name, repeat=None, temperature=600.0, steps=4000, seed=0):
    """Energy change of each NVE step, at site changes and elsewhere."""
    system = System(name, repeat)
    run = dynamics(system, temperature, steps, friction=0.0, seed=seed, tolerance=1e-9)
    change = np.diff(run.total)
    edges = np.flatnonzero(np.diff(run.sites))
    moves = [round(float(system.atoms.get_distance(run.sites[k], run.sites[k + 1], mic=True)), 2) for k in edges]
    moved = np.array(moves)
    # the energy jumps within 10 fs of each site change, everything beyond the integrator's own 5 meV a step
    jumps = np.where(np.abs(change) > 0.005, change, 0.0)
    lost = np.array([1000 * jumps[max(0, k - 10) : k + 11].sum() for k in edges])
    print(
        f"{name} {len(system.atoms)} atoms, NVE {steps} fs, {run.temperature:.0f} K: {len(edges)} site changes, "
        f"median |dE| per step {1000 * np.median(np.abs(change)):.3f} meV, sum of jumps beyond 5 meV a step "
        f"{1000 * jumps.sum():.0f} meV in {np.count_nonzero(jumps)} steps, "
        f"largest {1000 * np.abs(change).max():.0f} meV"
    )
    for distance in np.unique(moved):
        values = lost[moved == distance]
        print(
            f"    {distance:.2f} A: {len(values)} changes, {int((values == 0).sum())} without a jump, "
            f"mean {values.mean():.1f} meV, worst {values[np.abs(values).argmax()]:.0f} meV",
            flush=True,
        )


def main(arguments):
    command, *rest = arguments or ["static"]
    if command == "static":
        static()
    elif command == "rates" and not rest:
        for name, repeat, temperature, picoseconds, reference in PROTOTYPE_RATES:
            rates(name, repeat, temperature, picoseconds, reference)
    elif command == "rates":
        name, temperature, picoseconds = rest[0], float(rest[1]), float(rest[2])
        repeat = tuple(int(n) for n in rest[3].split("x")) if len(rest) > 3 else None
        rates(name, repeat, temperature, picoseconds)
    elif command == "conservation":
        conservation(rest[0], temperature=float(rest[1]) if len(rest) > 1 else 600.0)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
