"""Ways to put a carrier on its site: what is relaxed beforehand, and what the free relaxation starts from.

| strategy | the symmetry is broken by | needs |
|---|---|---|
| `omc` | occupations imposed on the site | a VASP with the occupation-matrix patch |
| `distortion` | the bonds of the site, and a rattle; MAGMOM is even | |
| `moment` | MAGMOM alone | a carrier that localises in the perfect crystal |
| `substitution` | an impurity that binds the carrier, then put back | a POTCAR and U of the impurity |

Each breaks it by one means, so that what a run shows can be told apart. All end with the same relaxation, free of
constraints, and with the same question to it (`verdict.judge_released`). Energy never says whether a strategy worked:
a delocalised state may lie lower. Bond distortion follows ShakeNBreak (Mosquera-Lois et al., npj Comput. Mater. 9, 25
(2023)) and Pham and Deskins, J. Chem. Theory Comput. 16, 5264 (2020).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from aiida import orm
from ase.data import atomic_numbers

from leopold_workflows.calculations.functions_localisation import (
    distort_around,
    restore_host,
    substitute_on,
    substituted,
    substituted_carrier,
)
from leopold_workflows.calculations.functions_vasp import occupation_matrix
from leopold_workflows.vasp.validation import impose_faults, study_faults

MAX_DISTORTION = 0.3  # of a bond; beyond it atoms of the two sublattices come near each other
MAX_RATTLE = 0.3  # Angstrom


class Strategy:
    """What the WorkChain asks of a strategy; `inputs` are those of the WorkChain."""

    prepares = False  # whether a relaxation comes before the free one
    # of inputs and the outputs of that relaxation: arguments of `adapter.job_inputs` for the free one
    release: ClassVar[Callable[[Mapping, Mapping], dict]]

    @staticmethod
    def preparation(inputs) -> dict:
        """Arguments of `adapter.job_inputs` for the relaxation before the free one."""
        return {}

    @staticmethod
    def faults(inputs, structure: orm.StructureData) -> Iterator[str]:
        """What is wrong with `inputs` for this strategy."""
        yield from ()


class Moment(Strategy):
    """MAGMOM on the sites, in the perfect crystal."""

    @staticmethod
    def release(inputs, prepared: Mapping) -> dict:
        return {"structure": inputs.structure, "sites": inputs.sites.get_list()}


class Distortion(Strategy):
    """Bonds of the sites lengthened, all atoms rattled; the carrier's spin is spread evenly over those that can take
    it."""

    @staticmethod
    def release(inputs, prepared: Mapping) -> dict:
        distorted = distort_around(
            inputs.structure, inputs.carrier, inputs.sites, inputs.distortion, inputs.rattle, inputs.rattle_seed
        )
        species = set(inputs.carrier["species"])
        return {
            "structure": distorted,
            "sites": [i for i, site in enumerate(inputs.structure.sites) if site.kind_name in species],
        }


class Occupations(Strategy):
    """Occupations imposed on the sites in a relaxation, the free one started from its orbitals."""

    prepares = True

    @staticmethod
    def preparation(inputs) -> dict:
        return {
            "structure": inputs.structure,
            "sites": inputs.sites.get_list(),
            "occmatrix": occupation_matrix(inputs.structure, inputs.carrier, inputs.vasp.hubbard, inputs.sites),
        }

    @staticmethod
    def release(inputs, prepared: Mapping) -> dict:
        return {
            "structure": prepared["structure"],
            "sites": inputs.sites.get_list(),
            "restart_folder": prepared["remote_folder"],
        }

    @staticmethod
    def faults(inputs, structure: orm.StructureData) -> Iterator[str]:
        message = impose_faults(inputs["vasp"], structure, inputs["carrier"], inputs["sites"].get_list())
        if message:
            yield message


class Substitution(Strategy):
    """The cell relaxed with `substitute` on the sites; then the host's atoms put back there and MAGMOM on them."""

    prepares = True

    @staticmethod
    def preparation(inputs) -> dict:
        changed = substitute_on(inputs.structure, inputs.carrier, inputs.sites, inputs.substitute)
        n, total = len(inputs.sites.get_list()), len(inputs.structure.sites)
        return {**changed, "sites": list(range(total - n, total)), "source": "substituted"}

    @staticmethod
    def release(inputs, prepared: Mapping) -> dict:
        host = restore_host(prepared["structure"], inputs.structure, inputs.sites)
        return {"structure": host, "sites": inputs.sites.get_list()}

    @staticmethod
    def faults(inputs, structure: orm.StructureData) -> Iterator[str]:
        if "substitute" not in inputs:
            yield (
                "substitute is missing: localisation = 'substitution' puts another element on the site for a while; "
                "give its symbol, like V for an electron on Ti"
            )
            return
        element, vasp, sites = inputs["substitute"].value, inputs["vasp"], inputs["sites"].get_list()
        kinds = {structure.sites[site].kind_name for site in sites}
        if element not in atomic_numbers or element == "X":
            yield f"substitute = {element!r}: no chemical symbol; give one, like V"
        elif element in structure.get_kind_names():
            yield f"substitute = {element!r}: the structure has that already; give another element"
        elif len(kinds) > 1:
            yield f"sites: {', '.join(sorted(kinds))}; a substitution needs sites of one kind"
        elif element not in vasp["potential"]:
            yield (
                f"vasp.potential: no POTCAR for the substitute {element!r} (given: {', '.join(vasp['potential'])}); "
                f"add vasp.potential.{element}"
            )
        elif "hubbard" not in vasp or element not in vasp["hubbard"].get_dict():
            yield (
                f"vasp.hubbard: no entry for the substitute {element!r}; add {element}: {{l, u}} (the host's values "
                "serve: only the geometry is kept)"
            )
        else:
            carrier = orm.Dict(substituted_carrier(inputs["carrier"].get_dict(), kinds.pop(), element))
            changed = orm.StructureData(ase=substituted(structure.get_ase(), sites, element))
            incar = inputs["relaxation_incar"].get_dict()
            message = study_faults(vasp, changed, carrier, incar, "relax", "relaxation_incar")
            if message:
                yield f"with {element} on the site: {message}"


STRATEGIES: dict[str, type[Strategy]] = {
    "omc": Occupations,
    "distortion": Distortion,
    "moment": Moment,
    "substitution": Substitution,
}


def expose(spec) -> None:
    """Add the choice of a strategy and what the strategies need to the spec of a WorkChain."""
    spec.input(
        "localisation",
        valid_type=orm.Str,
        default=lambda: orm.Str("omc"),
        validator=_known,
        help="How the carrier is put on its site: 'omc' (occupations imposed; patched VASP), 'distortion' (of bonds), "
        "'moment' (MAGMOM alone) or 'substitution' (an impurity for a while).",
    )
    spec.input(
        "distortion",
        valid_type=orm.Float,
        default=lambda: orm.Float(0.05),
        validator=_between(0.0, MAX_DISTORTION, "of the bond, like 0.05"),
        help="'distortion': the fraction by which bonds change.",
    )
    spec.input(
        "rattle",
        valid_type=orm.Float,
        default=lambda: orm.Float(0.02),
        validator=_between(0.0, MAX_RATTLE, "Angstrom, like 0.02"),
        help="'distortion': standard deviation of random displacements, Angstrom.",
    )
    spec.input(
        "rattle_seed", valid_type=orm.Int, default=lambda: orm.Int(1), help="'distortion': seed of the displacements."
    )
    spec.input("substitute", valid_type=orm.Str, required=False, help="'substitution': symbol of the impurity.")


def faults(inputs, structure: orm.StructureData) -> str | None:
    """Every fault of `inputs` for the strategy they choose, one line each; to be asked after `study_faults`."""
    return "\n".join(STRATEGIES[inputs["localisation"].value].faults(inputs, structure)) or None


def _known(node, _) -> str | None:
    if node is None or node.value in STRATEGIES:
        return None
    near = difflib.get_close_matches(node.value, STRATEGIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose {', '.join(STRATEGIES)} ('omc' needs a patched VASP)"
    return f"localisation = {node.value!r}: {hint}"


def _between(low: float, high: float, unit: str):
    def check(node, port) -> str | None:
        if node is None or low <= node.value <= high:
            return None
        return f"{port.name} = {node.value:g}: give {low:g} to {high:g} {unit}"

    return check
