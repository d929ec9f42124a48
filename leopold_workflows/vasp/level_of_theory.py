"""What makes the energies of two VASP runs comparable, as one hash: labels with different hashes train no one model.

The hash is taken over U, J and l by species, the POTCARs by species, the k-mesh, the lattice vectors, and the INCAR
tags below. A tag that is absent and one that is set to VASP's default are the same, and so are 400 and 400.0, .TRUE.
and T, `Accurate` and `A`: a run made by hand has the hash of the same run made here. Algorithm, tolerances and the
motion of ions are not part of it. Lattice vectors are, because a k-mesh means something for one cell only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

# tag: VASP's default; None where it follows from the POTCARs, which are part of the hash
TAGS = {
    "encut": None, "enaug": None, "prec": "N", "gga": None, "metagga": None, "lasph": "F", "lreal": "F",
    "addgrid": "F", "ismear": 1.0, "sigma": 0.2, "lmaxmix": 2.0, "ldau": "F", "ldautype": 2.0, "lhfcalc": "F",
    "hfscreen": 0.0, "aexx": None, "ivdw": 0.0,
}  # fmt: skip
ONSITE = {"ldaul": "l", "ldauu": "u", "ldauj": "j"}
# words of which VASP reads the first letter
INITIALS = {"prec", "lreal", "lasph", "addgrid", "ldau", "lhfcalc"}
CELL_DIGITS = 3  # of Angstrom


def level_of_theory(
    species: Sequence[str], tags: Mapping, potcars: Mapping[str, str], kpoints, cell: Sequence[Sequence[float]]
) -> dict:
    """What is hashed, in one spelling and as plain data.

    `species` are the blocks of POSCAR, in the order of the LDAU lists in `tags` (INCAR, lower case); `potcars` maps
    each to the SHA-512 of its POTCAR; `kpoints` is a mesh or points in nested lists, `cell` (3, 3) Angstrom.
    """
    return {
        "tags": {tag: value for tag, default in TAGS.items() if (value := _plain(tag, tags.get(tag))) != default},
        "hubbard": _hubbard(species, tags),
        "potcar": {kind: potcars[kind] for kind in sorted(set(species))},
        "kpoints": np.asarray(_flat(kpoints), dtype=float).round(6).tolist(),
        "cell": (np.asarray(cell, dtype=float).round(CELL_DIGITS) + 0.0).tolist(),
    }


def settings_hash(level: Mapping) -> str:
    """Sixteen hexadecimal digits of a `level_of_theory`."""
    return hashlib.sha256(json.dumps(level, sort_keys=True).encode()).hexdigest()[:16]


def differences(found: Mapping, wanted: Mapping) -> list[str]:
    """In what two levels of theory differ, in words: the first one's value, then the second one's."""
    told = []
    for section, name in (("tags", "{}"), ("hubbard", "U of {}")):
        one, other = found[section], wanted[section]
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                values = (_said(side.get(key), TAGS.get(key)) for side in (one, other))
                told.append(f"{name.format(key.upper() if section == 'tags' else key)} {' and '.join(values)}")
    told += [f"POTCAR of {kind}" for kind, hash_ in wanted["potcar"].items() if found["potcar"].get(kind) != hash_]
    return told + [name for key, name in (("kpoints", "k-points"), ("cell", "cell")) if found[key] != wanted[key]]


def _said(value, default) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {number:g}" for key, number in value.items())
    value = default if value is None else value
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _hubbard(species: Sequence[str], tags: Mapping) -> dict:
    """l, U and J of the species that are corrected; a shell with U = J = 0 is printed only."""
    if _plain("ldau", tags.get("ldau")) != "T":
        return {}
    lists = {short: _numbers(tags.get(tag, ())) for tag, short in ONSITE.items()}
    found = {
        kind: {short: values[k] if k < len(values) else 0.0 for short, values in lists.items()}
        for k, kind in enumerate(species)
    }
    return {kind: u for kind, u in found.items() if u["l"] >= 0 and (u["u"] or u["j"])}


def _plain(tag: str, value):
    """The value in one spelling; None where the tag is absent."""
    if value is None:
        return TAGS[tag]
    text = str(value).strip().strip(".").upper()
    if tag in INITIALS:
        return text[:1]
    try:
        return float(text)
    except ValueError:
        return text


def _numbers(value) -> list[float]:
    return [float(v) for v in (value.split() if isinstance(value, str) else np.atleast_1d(value))]


def _flat(kpoints) -> list:
    return [x for part in kpoints for x in _flat(part)] if isinstance(kpoints, list | tuple | np.ndarray) else [kpoints]
