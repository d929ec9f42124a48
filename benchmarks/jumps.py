"""What a model says where the stand-in's carrier jumps: moments and energies when it is told the old site.

    python benchmarks/jumps.py demo/tio2_f/model.leopold --system tio2 --temperature 700 --ps 40

A jump is a step of the stand-in after which another site has the largest moment. Per distance: how many there are, and
`AHEAD` steps before and at the jump the moments the model gives the old and the new site, and the difference of its
energies with the carrier on either; in how many the lowest of its energies, over every site of the sublattice, is
that of the new site, of a nearest neighbour of it, or of the old one.
"""

from __future__ import annotations

import argparse
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
from closed_loop import cell_of, engine_of, trajectory

from leopold_model.checkpoint import load_model
from leopold_model.evaluate import predictions
from leopold_model.frames import Frame

AHEAD = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--system", choices=("mgo", "tio2", "anatase"), required=True)
    parser.add_argument("--temperature", type=float, required=True, help="K")
    parser.add_argument("--ps", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    model = load_model(options.model)
    atoms, sublattice, _ = cell_of(options.system)
    carrier = engine_of(options.system).parameters.carrier
    sites = np.flatnonzero(atoms.symbols == sublattice)
    apart = atoms.get_all_distances(mic=True)
    nearest = apart[sites[0], sites[1:]].min()

    def told(positions, wanted):
        """The model's answers with the carrier on each of the sites `wanted`."""
        given = {"numbers": atoms.numbers, "positions": positions, "cell": atoms.cell.array, "carrier": carrier}
        return predictions(model, [Frame(**given, carrier_sites=(int(site),)) for site in wanted])

    classes, recent, old = defaultdict(list), deque(maxlen=AHEAD + 1), None
    for positions, moments in trajectory(options.system, options.temperature, options.seed, int(1000 * options.ps)):
        recent.append(positions)
        new = int(np.argmax(moments))
        if old not in (None, new) and len(recent) > AHEAD:
            row = []
            for at in (recent[0], positions):
                here, there = told(at, (old, new))
                row += [here.moments[old], here.moments[new], 1e3 * (here.energy - there.energy)]
            lowest = sites[np.argmin([answer.energy for answer in told(positions, sites)])]
            row += [lowest == new, lowest not in (old, new) and apart[lowest, new] < nearest + 0.1, lowest == old]
            classes[round(apart[old, new], 1)].append(row)
        old = new
    print("               before: mu_B            meV      at the jump: mu_B       meV        lowest energy at")
    print("   A  jumps    old    new   E(old)-E(new)       old    new   E(old)-E(new)   new  its neighbour  old")
    for distance, rows in sorted(classes.items()):
        mean, spread = np.mean(rows, axis=0, dtype=float), np.std(rows, axis=0, dtype=float)
        new, neighbour, stays = np.sum(rows, axis=0)[6:].astype(int)
        print(
            f"{distance:4.1f} {len(rows):6d} {mean[0]:6.2f} {mean[1]:6.2f} {mean[2]:8.0f} ({spread[2]:.0f})"
            f"      {mean[3]:6.2f} {mean[4]:6.2f} {mean[5]:8.0f} ({spread[5]:.0f}) {new:8d} {neighbour:8d} {stays:8d}"
        )


if __name__ == "__main__":
    main()
