"""Several carriers of one defect: how they arrange themselves in learned dynamics and in the stand-in's own.

    python benchmarks/closed_loop.py demo/tio2_vo/model.leopold --system tio2_vo --temperatures 400 700 --ps 100 \\
        --reference reference.h5 --learned learned.h5
    python benchmarks/carriers.py reference.h5 learned.h5 --system tio2_vo

The first line prints hop rates; the second, for every temperature, the share of time by the distance of two carriers
and by the shell around the defect, with standard errors over replicas, beside random placement. Distances that neither
side ever had are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from closed_loop import SYSTEMS, host_of

from leopold_model.analysis.around_defects import around_defects
from leopold_model.analysis.carrier_pairs import carrier_pairs
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.tracks import read_track


def compare(reference: Path, learned: Path, system: str, tau_min: float) -> list[dict]:
    """One row per temperature and group: `of` ('pair' or 'shell'), `name`, and of both sides population and error."""
    both = [build_catalogue(read_track(path), host_of(system), 7.0, tau_min) for path in (reference, learned)]
    rows = []
    for temperature in both[0].temperatures:
        pairs = [carrier_pairs(catalogue, temperature) for catalogue in both]
        shells = [around_defects(catalogue, temperature)["shells"] for catalogue in both]
        for of, sides, key in (("pair", pairs, "distance_Angstrom"), ("shell", shells, "shell")):
            truth, ours = sides
            for k, name in enumerate(truth[key]):
                found = {"temperature": temperature, "of": of, "name": name, "random": truth["random"][k]}
                for who, side in (("reference", truth), ("learned", ours)):
                    found |= {who: side["population"][k], f"{who}_error": side["error"][k]}
                if found["reference"] or found["learned"]:
                    rows.append(found)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("learned", type=Path)
    parser.add_argument("--system", choices=[s for s in SYSTEMS if s.endswith("_vo")], default="tio2_vo")
    parser.add_argument("--tau-min", type=float, default=50.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = compare(arguments.reference, arguments.learned, arguments.system, arguments.tau_min)
    print("| T, K | | random | reference | learned |")
    print("|---" * 5 + "|")
    for row in rows:
        name = f"two at {row['name']:.2f} A" if row["of"] == "pair" else f"shell {row['name']}"
        print(
            f"| {row['temperature']:g} | {name} | {row['random']:.3f} "
            f"| {_with_error(row, 'reference')} | {_with_error(row, 'learned')} |"
        )
    if arguments.json:
        print(json.dumps(rows))


def _with_error(row: dict, who: str) -> str:
    error = row[f"{who}_error"]
    return f"{row[who]:.3f}" + ("" if error is None else f" ({error:.3f})")


if __name__ == "__main__":
    main()
