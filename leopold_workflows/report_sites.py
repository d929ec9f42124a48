"""Tables of the report on where carriers are: around defects, layer by layer, and how far from each other."""

from __future__ import annotations


def around_defects(found: list[dict]) -> list[str]:
    """A table of the shells, where there are defects."""
    if not found:
        return []
    lines = ["", "## Around the defects", "", "Binding: of a site of the shell against one far from every defect.", ""]
    lines += [
        "| T, K | shell | sites | carrier time | if random | binding, meV | stay, ps |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        shells = row["shells"]
        stays = dict(zip(shells["residence"]["shell"], shells["residence"]["time_ps"], strict=True))
        for k, name in enumerate(shells["shell"]):
            energy, error, stay = shells["binding_eV"][k], shells["binding_error_eV"][k], stays.get(name)
            spread = "" if error is None else f" ± {1000 * error:.0f}"
            bound = "" if energy is None else f"{1000 * energy:.0f}{spread}"
            cells = (f"{shells['sites'][k]:g}", *_shares(shells, k), bound, _picoseconds(stay))
            lines.append(f"| {row['temperature_K']:.0f} | {name} | " + " | ".join(cells) + " |")
    return lines


def layers(found: list[dict]) -> list[str]:
    """Time and hops by layer, of a slab."""
    if not found:
        return []
    lines = ["", "## Layer by layer", "", "S0 is the uppermost layer of sites.", ""]
    lines += ["| T, K | layer | sites | carrier time | if random | stay, ps |", "|---:|---|---:|---:|---:|---:|"]
    for row in found:
        told = row["layers"]
        for k, name in enumerate(told["layer"]):
            cells = (f"{told['sites'][k]:g}", *_shares(told, k), _picoseconds(told["residence_ps"][k]))
            lines.append(f"| {row['temperature_K']:.0f} | {name} | " + " | ".join(cells) + " |")
    lines += ["", "| T, K | within, or between | hops | rate 1/ps (95 %) |", "|---:|---|---:|---|"]
    for row in found:
        for name, rate in row["hops"].items():
            value, low, high = (f"{x:.3g}" for x in (rate["rate_per_ps"], *rate["interval_per_ps"]))
            lines.append(f"| {row['temperature_K']:.0f} | {name} | {rate['count']} | {value} ({low} to {high}) |")
    return lines


def carrier_pairs(found: list[dict]) -> list[str]:
    """Time by the distance between two carriers, where there are several."""
    if not found:
        return []
    lines = ["", "## Carriers and each other", "", "| T, K | two at, Å | time | if random |", "|---:|---:|---:|---:|"]
    for row in found:
        for k, distance in enumerate(row["distance_Angstrom"]):
            lines.append(f"| {row['temperature_K']:.0f} | {distance:.2f} | " + " | ".join(_shares(row, k)) + " |")
    return lines


def _shares(told: dict, k: int) -> tuple[str, str]:
    error = "" if told["error"][k] is None else f" ± {100 * told['error'][k]:.1f}"
    return f"{100 * told['population'][k]:.1f}{error} %", f"{100 * told['random'][k]:.1f} %"


def _picoseconds(time: float | None) -> str:
    return "" if time is None else f"{time:.2f}"
