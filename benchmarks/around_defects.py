"""Where carriers sit around defects: learned dynamics against the stand-in's own, at the same temperatures.

    python benchmarks/closed_loop.py demo/tio2_f/model.leopold --system tio2_f --temperatures 400 700 --ps 200 \\
        --reference reference.h5 --learned learned.h5
    python benchmarks/around_defects.py reference.h5 learned.h5 --system tio2_f

prints, for every temperature and shell, the share of carrier time and the free energy by which a site of the shell
binds the carrier against a far one, both with their standard errors over replicas, and shares by row and by plane. A
population agrees within 0.05, a binding free energy within 20 meV.
"""

from __future__ import annotations

import argparse
import json
from math import hypot
from pathlib import Path

from closed_loop import SYSTEMS, host_of

from leopold_model.analysis.around_defects import around_defects
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.transport import transport
from leopold_model.tracks import read_track

POPULATION = 0.05
BINDING = 0.020  # eV
ROWS, PLANES = (0, 0, 1), (1, -1, 0)


def compare(reference: Path, learned: Path, system: str, tau_min: float) -> dict:
    """Populations, binding and mobility of both tracks, per temperature."""
    both = [build_catalogue(read_track(path), host_of(system), 7.0, tau_min) for path in (reference, learned)]
    shells, groups, mobilities = [], [], []
    for temperature in both[0].temperatures:
        found = [around_defects(catalogue, temperature, rows=ROWS, planes=PLANES) for catalogue in both]
        for k, name in enumerate(found[0]["shells"]["shell"]):
            shells.append({"temperature": temperature, "shell": name, **_pair(found, "shells", k)})
        for part in ("rows", "planes"):
            for k, distance in enumerate(found[0][part]["distance_Angstrom"]):
                groups.append({"temperature": temperature, "of": part, "distance": distance, **_pair(found, part, k)})
        for who, catalogue in zip(("reference", "learned"), both, strict=True):
            row = transport(catalogue, temperature)
            mobilities.append(
                {"temperature": temperature, "who": who, "n_hops": row.n_hops, **row.mobility.isotropic.to_dict(),
                 "along_c": float(row.mobility.value[2, 2]),
                 "across_c": float((row.mobility.value[0, 0] + row.mobility.value[1, 1]) / 2)}
            )  # fmt: skip
    return {"system": system, "tau_min_fs": tau_min, "shells": shells, "groups": groups, "mobility": mobilities}


def _pair(found: list[dict], part: str, k: int) -> dict:
    ours = {"sites": found[0][part]["sites"][k]}
    for key, error, unit in (("population", "error", ""), ("binding_eV", "binding_error_eV", "_eV")):
        if key in found[0][part]:
            name = key.removesuffix("_eV")
            a, b = (f[part][key][k] for f in found)
            errors = [f[part][error][k] for f in found]
            ours |= {
                f"{name}_reference{unit}": a, f"{name}_learned{unit}": b,
                f"{name}_difference{unit}": None if a is None or b is None else b - a,
                f"{name}_error{unit}": None if None in errors else hypot(*errors),
            }  # fmt: skip
    return ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("learned", type=Path)
    parser.add_argument("--system", choices=[s for s in SYSTEMS if "_" in s], default="tio2_f")
    parser.add_argument("--tau-min", type=float, default=50.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = compare(arguments.reference, arguments.learned, arguments.system, arguments.tau_min)
    print("  T, K shell  sites  time: reference  learned difference (error)  | binding, meV: both, difference (error)")
    for row in result["shells"]:
        population = (row["population_reference"], row["population_learned"], row["population_difference"])
        bound = [row[f"binding_{who}_eV"] for who in ("reference", "learned", "difference")]
        energies = " ".join("      -" if x is None else f"{1000 * x:7.0f}" for x in bound)
        missing, error = float("nan"), row["binding_error_eV"]
        verdict = [abs(population[2]) <= POPULATION, bound[2] is not None and abs(bound[2]) <= BINDING]
        print(
            f"{row['temperature']:6.0f} {row['shell']:>5} {row['sites']:6g} {population[0]:15.3f} {population[1]:8.3f} "
            f"{population[2]:+10.3f} ({missing if row['population_error'] is None else row['population_error']:.3f}) "
            f"{'yes' if verdict[0] else 'no':>4} | {energies} ({missing if error is None else 1000 * error:.0f}) "
            f"{'yes' if verdict[1] else 'no'}"
        )
    for row in result["groups"]:
        print(
            f"{row['temperature']:6.0f} {row['of']:6} at {row['distance']:5.2f} A, {row['sites']:3g} sites: "
            f"{row['population_reference']:.3f} and {row['population_learned']:.3f}"
        )
    for row in result["mobility"]:
        ratio = f"{row['along_c'] / row['across_c']:.1f}" if row["across_c"] else "without bound"
        print(
            f"{row['temperature']:6.0f} mobility, {row['who']:10} {row['value']:.3e} ({row['low']:.3e} to "
            f"{row['high']:.3e}) cm^2/(V s), along c over across {ratio}, "
            f"{row['n_hops']} hops"
        )
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
