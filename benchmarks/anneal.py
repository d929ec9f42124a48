"""Trial moves per second of annealing on TiO2(110), beside a cluster expansion in ICET on the same lattice.

    python benchmarks/anneal.py [--icet /other/venv/bin/python] [--moves 20000] [--repeats 5] [--json]

Ours: the paper's network (93-32-10-1 per type of defect, four symmetry images) with random parameters, on 24x16 (192
defects) and 54x24 (648); what it has learned does not change the cost of a move. ICET: mchammer's canonical ensemble on
the same sites, occupations and temperature with random interactions, pairs to 9 Angstrom, and with triplets to 4.5
Angstrom as well. Everything takes its turn in every round on one core, and the fastest round counts. Both are set to
accept about every second move whose energy is computed. Our moves onto occupied sites are rejected without computing
anything, ICET draws none such: `computed` leaves them out, and the ratio is of those.

ICET brings its own numpy; give the interpreter of an environment that has it (`pip install icet`). Without, it is
left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402 - after the number of threads is set

SIZES = ((24, 16), (54, 24))
VACANCIES = 1 / 6  # of the bridging sites; two polarons each
CUTOFFS = {"pairs": [9.0], "pairs and triplets": [9.0, 4.5]}
CELL = (2.968, 6.576, 30.0)
SITES = ((0.0, 0.0, 0.60), (0.5, 0.0, 0.49), (0.0, 0.5, 0.64))  # S0, S1, bridging O


class Ours:
    """Our sampler on one size of the lattice."""

    def __init__(self, nx: int, ny: int):
        from leopold_model.patterns.composition import Composition, random_configuration
        from leopold_model.patterns.descriptor import Descriptor, DescriptorConfig
        from leopold_model.patterns.lattice_file import load_lattice
        from leopold_model.patterns.network import HIDDEN, PatternModel
        from leopold_model.patterns.sampling import Sampler

        rng = np.random.default_rng(0)
        tio2 = load_lattice("tio2_110")
        descriptor = Descriptor(tio2.lattice, DescriptorConfig())
        layers = []
        for b, _ in descriptor.types:
            sizes = (descriptor.surroundings[b].n_features, *HIDDEN, 1)
            shapes = pairwise(sizes)
            layers.append([(rng.normal(size=(1, i, o)) * np.sqrt(2 / i), np.zeros((1, o))) for i, o in shapes])
        n = round(VACANCIES * nx * ny)
        cell = tio2.supercell(f"{nx}x{ny}")
        occupations = random_configuration(cell, Composition(tio2.lattice, {"VO": n, "polaron": 2 * n}), rng)
        self.chain = Sampler(PatternModel(tio2, descriptor, layers), cell).chain(occupations, 0)
        self.temperature = 1500.0
        start = self.chain.accepted
        self.chain.run(1e9, 5000)  # every move that is computed is accepted
        self.computed = (self.chain.accepted - start) / 5000
        self.chain.run(self.temperature, 20_000)

    def round(self, n_moves: int) -> dict:
        """One round."""
        before, start = self.chain.accepted, time.process_time()
        self.chain.run(self.temperature, n_moves)
        seconds = time.process_time() - start
        return {
            "trial_per_s": n_moves / seconds,
            "computed_per_s": n_moves * self.computed / seconds,
            "accepted_of_computed": (self.chain.accepted - before) / n_moves / self.computed,
        }


class Icet:
    """mchammer's canonical ensemble on one size of the lattice."""

    def __init__(self, nx: int, ny: int, cutoffs: list[float]):
        from ase import Atoms
        from icet import ClusterExpansion, ClusterSpace
        from mchammer.calculators import ClusterExpansionCalculator
        from mchammer.ensembles import CanonicalEnsemble

        rng = np.random.default_rng(0)
        parent = Atoms("TiTiO", scaled_positions=SITES, cell=CELL, pbc=True)
        space = ClusterSpace(parent, cutoffs, [["Ti", "V"], ["Ti", "V"], ["O", "F"]])  # V: polaron, F: vacancy
        expansion = ClusterExpansion(space, 0.003 * rng.normal(size=len(space)))
        atoms = parent.repeat((nx, ny, 1))
        n = round(VACANCIES * nx * ny)
        numbers = atoms.numbers
        numbers[rng.choice(np.flatnonzero(numbers == 22), 2 * n, replace=False)] = 23
        numbers[rng.choice(np.flatnonzero(numbers == 8), n, replace=False)] = 9
        atoms.numbers = numbers
        calculator = ClusterExpansionCalculator(atoms, expansion)
        never = int(1e9)
        self.ensemble = CanonicalEnsemble(
            atoms,
            calculator,
            1500.0,
            random_seed=0,
            ensemble_data_write_interval=never,
            trajectory_write_interval=never,
        )
        self.ensemble.run(2000)

    def round(self, n_moves: int) -> dict:
        """One round."""
        before, start = self.ensemble._accepted_trials, time.process_time()
        self.ensemble.run(n_moves)
        seconds = time.process_time() - start
        rate = n_moves / seconds
        accepted = (self.ensemble._accepted_trials - before) / n_moves
        return {"trial_per_s": rate, "computed_per_s": rate, "accepted_of_computed": accepted}


def serve(n_moves: int) -> None:
    """The ICET side, in its own interpreter: a line for every round asked for."""
    cases = {f"icet, {name}, {nx}x{ny}": Icet(nx, ny, cutoffs) for name, cutoffs in CUTOFFS.items() for nx, ny in SIZES}
    print(json.dumps(list(cases)), flush=True)
    for _ in sys.stdin:
        print(json.dumps({name: case.round(n_moves) for name, case in cases.items()}), flush=True)


def peer(python: str, n_moves: int):
    """A function that runs one round of ICET, or None with the reason printed."""
    command = [python, __file__, "--serve", "--moves", str(n_moves)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        print(f"ICET left out: {python} cannot be started ({error})")
        return None
    if not process.stdout.readline():
        print(f"ICET left out: {python} has none that works; `{python} -m pip install icet` may help")
        return None

    def round_() -> dict:
        process.stdin.write("\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    return round_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--icet", default=sys.executable, help="an interpreter that has ICET")
    parser.add_argument("--moves", type=int, default=20_000, help="per round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.moves)
        return
    ours = {f"ours, network, {nx}x{ny}": Ours(nx, ny) for nx, ny in SIZES}
    other = peer(options.icet, options.moves)
    rounds = []
    for _ in range(options.repeats):
        row = {name: case.round(options.moves) for name, case in ours.items()}
        rounds.append(row | (other() if other else {}))
    best = {name: max((r[name] for r in rounds), key=lambda found: found["computed_per_s"]) for name in rounds[0]}
    print(f"{'':36s} trial/s  computed/s  accepted")
    for name, found in best.items():
        rates = f"{found['trial_per_s']:7.0f}  {found['computed_per_s']:10.0f}"
        print(f"{name:36s} {rates}  {found['accepted_of_computed']:.2f} of computed")
    small, large = (best[f"ours, network, {nx}x{ny}"]["trial_per_s"] for nx, ny in SIZES)
    summary = {"rates": best, "cost_of_a_move_large_over_small": small / large}
    print(f"cost of a move, 54x24 over 24x16: {small / large:.2f}")
    for name in CUTOFFS:
        if other:
            for nx, ny in SIZES:
                size = f"{nx}x{ny}"
                peers = best[f"icet, {name}, {size}"]["computed_per_s"]
                ratio = best[f"ours, network, {size}"]["computed_per_s"] / peers
                summary[f"ours over icet, {name}, {size}"] = ratio
                print(f"{size}: {ratio:.1f} times the computed moves per second of ICET with {name}")
    if options.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
