"""INCAR of a run with a small polaron: what to set, why, and which settings defeat the purpose.

Tags are plain upper-case dicts. What decides the level of theory (precision, mixing and smearing included) is common to
all stages, so that frames of any of them may train one model; ENCUT, the k-mesh and U belong to the material.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from leopold_model.vasp.poscar import magmom_tag, read_magmom
from leopold_model.vasp.run import VaspError

# tag: (value, reason)
_COMMON = {
    "ISPIN": (2, "the carrier is found by its spin"),
    "ISYM": (0, "symmetry would spread the carrier over equivalent sites"),
    "PREC": ("Normal", "the usual compromise of accuracy and cost in dynamics"),
    "LREAL": ("Auto", "real-space projectors, for cells of tens of atoms and more"),
    "LASPH": (True, "non-spherical terms inside the spheres matter for localised d and p states"),
    "ISMEAR": (0, "Gaussian smearing: an insulator with a level in the gap"),
    "SIGMA": (0.05, "small, so that the carrier's level is fully occupied"),
    "NELM": (150, "localised carriers converge slowly; a step that stops early is lost to training"),
    "NELMIN": (4, "forces converge after the energy: never fewer"),
    "LMAXMIX": (4, "mix the d density too (6 for f), or a restart from the density loses the orbital"),
    "LORBIT": (11, "prints the site moments of every ionic step"),
    "NWRITE": (2, "forces of every step in OUTCAR; 0 drops them in dynamics"),
    "LCHARG": (False, "a restart takes the density from WAVECAR"),
    "LWAVE": (True, "the next run starts from these orbitals and keeps the carrier where it is"),
    "ISIF": (2, "stress is printed, the cell stays"),
}
_STAGES = {
    "omc": {
        "ISTART": (0, "from scratch: old orbitals would hold the carrier where it was"),
        "ALGO": ("Normal", "blocked Davidson, the steadiest while occupations are imposed"),
        "EDIFF": (1e-5, "a start for the released run, never a label"),
        "IBRION": (2, "conjugate gradients: the lattice relaxes around the imposed carrier"),
        "NSW": (50, "enough to dig the well; need not converge"),
        "EDIFFG": (-0.05, "eV/A"),
        "OCCEXT": (1, "impose the occupations of file OCCMATRIX (patched VASP)"),
    },
    "relax": {
        "ALGO": ("Normal", "steady convergence of the localised level"),
        "EDIFF": (1e-6, "tight, so that onsite matrices belong to the final density"),
        "IBRION": (2, "conjugate gradients"),
        "NSW": (200, "stops by EDIFFG long before"),
        "EDIFFG": (-0.02, "eV/A"),
    },
    "delocalised": {
        "ISPIN": (1, "without spin a carrier spreads over the host: defects relax as if there were none"),
        "ALGO": ("Normal", "as the runs it is compared with"),
        "EDIFF": (1e-6, "its energy is a label too"),
        "IBRION": (2, "conjugate gradients"),
        "NSW": (200, "stops by EDIFFG long before"),
        "EDIFFG": (-0.02, "eV/A"),
        "LWAVE": (False, "its orbitals would hold later carriers where they are: nowhere"),
    },
    "static": {
        "ALGO": ("Normal", "steady convergence of the localised level"),
        "EDIFF": (1e-6, "tight, so that onsite matrices belong to the final density"),
        "IBRION": (-1, "ions stay"),
        "NSW": (0, "single point"),
    },
    "md": {
        "ALGO": ("Fast", "Davidson, then RMM-DIIS"),
        "EDIFF": (1e-5, "onsite matrices lag the density by one iteration: below their printed digits at this"),
        "MAXMIX": (40, "keep the mixer's history from step to step"),
        "IBRION": (0, "molecular dynamics"),
        "MDALGO": (2, "Nose-Hoover"),
        "SMASS": (0, "thermostat with a period of about 40 steps"),
        "POTIM": (1.0, "fs"),
        "NSW": (500, "segments short enough to parse and to lose"),
        "TEBEG": (300, "K"),
        "TEEND": (300, "K"),
        "NBLOCK": (1, "every step"),
    },
}
STAGES = tuple(_STAGES)
_SINGLE_NUMBERS: dict[str, type] = {
    "ISPIN": int, "LORBIT": int, "NWRITE": int, "ISYM": int, "IBRION": int, "NBLOCK": int, "LDAUPRINT": int,
    "LMAXMIX": int, "NUPDOWN": float, "NELECT": float,
}  # fmt: skip
_REASONS = {
    "NELECT": "the neutral cell's electrons and the carriers",
    "MAGMOM": "the start of the carrier's spin; a restart takes it from WAVECAR",
    "LDAU": "without U the carrier does not localise",
    "LDAUTYPE": "Dudarev: only U - J counts",
    "LDAUL": "per species; a shell with U = 0 is printed but not corrected, -1 is neither",
    "LDAUU": "eV per species",
    "LDAUJ": "eV per species",
    "LDAUPRINT": "prints the onsite matrices, the labels of the occupations",
}


@dataclass(frozen=True)
class PolaronCell:
    """What a run is about: species blocks in POSCAR order, and the carriers.

    `counts` and `valences` (electrons in the POTCAR) per block; `hubbard` {species: (l, U, J)} in eV; species left
    out get no onsite matrix. `closed_shell` is the electron count without carriers, the neutral cell's if None (a
    dopant or a vacancy that brings carriers along needs it). `delocalised` carriers stay in the cell without a site.
    """

    species: Sequence[str]
    counts: Sequence[int]
    valences: Sequence[float]
    carrier: str = "electron"
    n_carriers: int = 1
    hubbard: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    closed_shell: float | None = None
    delocalised: bool = False

    def __post_init__(self):
        if not len(self.species) == len(self.counts) == len(self.valences):
            raise VaspError(
                f"species {list(self.species)}, counts {list(self.counts)}, valences {list(self.valences)}: "
                "give one value per block of POSCAR"
            )
        if self.carrier not in ("electron", "hole"):
            raise VaspError(f"carrier = {self.carrier!r}: choose 'electron' or 'hole'")
        stray = set(self.hubbard) - set(self.species)
        if stray:
            raise VaspError(f"hubbard names {sorted(stray)[0]!r}: the cell has {', '.join(self.species)}")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return sum(self.counts)

    @property
    def electrons_without_carriers(self) -> float:
        """Electrons at which no carrier is left."""
        if self.closed_shell is not None:
            return self.closed_shell
        return sum(n * z for n, z in zip(self.counts, self.valences, strict=True))

    @property
    def nelect(self) -> float:
        """NELECT with the carriers."""
        return self.electrons_without_carriers + self.n_carriers * (1 if self.carrier == "electron" else -1)

    def species_of(self, atom: int) -> str:
        """Species of atom `atom` (from 0)."""
        return [s for s, n in zip(self.species, self.counts, strict=True) for _ in range(n)][atom]


def defaults(stage: str) -> dict:
    """INCAR tags of a stage that hold for any material: 'omc' (imposed occupations), 'relax', 'static' or 'md'."""
    return {tag: value for tag, (value, _) in _stage(stage).items()}


def reasons(stage: str) -> dict[str, str]:
    """Why each tag of `defaults(stage)` and `polaron_incar` is set as it is."""
    return {**_REASONS, **{tag: reason for tag, (_, reason) in _stage(stage).items()}}


def polaron_incar(stage: str, cell: PolaronCell, *, sites: Sequence[int] = (), **changes) -> dict:
    """INCAR of `stage` for `cell`; `changes` overrides tags.

    The carriers' spins start on `sites` (atoms from 0), in equal parts where there are more sites than carriers.

    Raises VaspError listing every conflict (see `conflicts`).
    """
    tags = defaults(stage) | {"NELECT": cell.nelect}
    if sites:
        each = cell.n_carriers / len(sites)
        tags["MAGMOM"] = magmom_tag([each if i in sites else 0.0 for i in range(cell.n_atoms)])
    if cell.hubbard:
        entries = [cell.hubbard.get(s, (-1, 0.0, 0.0)) for s in cell.species]
        shells, u, j = (list(column) for column in zip(*entries, strict=True))
        tags |= {"LDAU": True, "LDAUTYPE": 2, "LDAUL": shells, "LDAUU": u, "LDAUJ": j, "LDAUPRINT": 2}
        tags["LMAXMIX"] = max(tags["LMAXMIX"], 2 * max(shells))
    tags |= {tag.upper(): value for tag, value in changes.items()}
    found = conflicts(tags, cell)
    if found:
        raise VaspError("; ".join(found))
    return tags


def incar_text(tags: Mapping, stage: str | None = None) -> str:
    """The INCAR file; with `stage`, every tag left at its default carries its reason as comment."""
    why = reasons(stage) if stage else {}
    standard = defaults(stage) if stage else {}
    lines = []
    for tag, value in tags.items():
        line = f"{tag.upper():9s} = {_vasp(value)}"
        if tag.upper() in why and standard.get(tag.upper(), value) == value:
            line = f"{line:32s} ! {why[tag.upper()]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def conflicts(tags: Mapping, cell: PolaronCell | None = None, *, occ_atoms: Iterable[int] = ()) -> list[str]:
    """Settings that would leave a run without the carrier or without its labels; each names tag, value and remedy.

    With `cell`, lengths and electron counts are checked too; `occ_atoms` are the atoms (from 0) in OCCMATRIX.
    """
    said: list[str] = []
    tags = _readable({tag.upper(): value for tag, value in tags.items() if value is not None}, said)
    if said:
        return said

    def get(tag, default=None):
        return tags.get(tag, default)

    if _truth(get("LNONCOLLINEAR")) or _truth(get("LSORBIT")):
        said.append("LNONCOLLINEAR/LSORBIT = .TRUE.: moments become vectors and cannot be used; remove the tag")
    if cell is not None and cell.delocalised:
        if get("ISPIN", 1) != 1:
            said.append(f"ISPIN = {get('ISPIN')}: a carrier could localise, but is to be delocalised; set ISPIN = 1")
    elif get("ISPIN", 1) != 2:
        said.append(f"ISPIN = {get('ISPIN', 1)}: no site moments to find the carrier by; set ISPIN = 2")
    if get("LORBIT", 0) < 10:
        said.append(f"LORBIT = {get('LORBIT', 0)}: no table of site moments is printed; set LORBIT = 11")
    if get("NWRITE", 2) == 0:
        said.append("NWRITE = 0: forces of the first and last step only; set NWRITE = 2")
    if get("ISYM", 2) > 0:
        said.append(f"ISYM = {get('ISYM', 2)}: symmetry spreads the carrier over equivalent sites; set ISYM = 0")
    if get("NUPDOWN", -1) == 0:
        said.append("NUPDOWN = 0: no net spin, a single carrier cannot localise by its moment; remove the tag")
    if get("IBRION") == 0 and get("NBLOCK", 1) != 1:
        said.append(f"NBLOCK = {get('NBLOCK')}: steps are skipped in the output of dynamics; set NBLOCK = 1")

    hubbard = {name: _numbers(get(name)) for name in ("LDAUL", "LDAUU", "LDAUJ")}
    corrected = _truth(get("LDAU"))
    if corrected:
        if get("LDAUPRINT", 0) < 1:
            said.append(f"LDAUPRINT = {get('LDAUPRINT', 0)}: no onsite matrices are printed; set LDAUPRINT = 2")
        need = 2 * max([1, *hubbard["LDAUL"]])
        if get("LMAXMIX", 2) < need:
            said.append(f"LMAXMIX = {get('LMAXMIX', 2)}: the onsite density is not mixed fully; set LMAXMIX = {need:g}")
    occext, occdir = _truth(get("OCCEXT")), [tag for tag in tags if tag.startswith("OCCDIR")]
    if occext and occdir:
        said.append(f"OCCEXT = 1 with {occdir[0]}: the file overwrites the INCAR list; keep one of them")
    if (occext or occdir) and not corrected:
        said.append("OCCEXT = 1 without LDAU = .TRUE.: occupations are imposed through U only; set LDAU, LDAUL, LDAUU")
    if (occext or occdir) and get("IBRION") == 0:
        said.append("OCCEXT = 1 with IBRION = 0: the forces carry the constraint; release the carrier before dynamics")
    if cell is not None:
        said += _cell_conflicts(tags, cell, hubbard if corrected else None, occ_atoms)
    return said


def _cell_conflicts(tags: Mapping, cell: PolaronCell, hubbard: Mapping | None, occ_atoms: Iterable[int]) -> list[str]:
    said = []
    empty = cell.electrons_without_carriers
    neutral = sum(n * z for n, z in zip(cell.counts, cell.valences, strict=True))
    nelect = tags.get("NELECT", neutral)
    name = f"NELECT = {nelect:g}" if "NELECT" in tags else f"NELECT is absent ({nelect:g}, the neutral cell)"
    if cell.n_carriers and abs(nelect - empty) < 0.5:
        said.append(f"{name}: leaves no carrier; set NELECT = {cell.nelect:g} for {cell.n_carriers} {cell.carrier}(s)")
    elif abs(nelect - cell.nelect) > 1e-6:
        said.append(
            f"{name}: {nelect - empty:+g} electrons beyond the closed-shell cell ({empty:g}); "
            f"{cell.n_carriers} {cell.carrier}(s) need NELECT = {cell.nelect:g}"
        )
    nupdown = tags.get("NUPDOWN", -1)
    if nupdown not in (-1, 0) and (nupdown - cell.n_carriers) % 2:
        said.append(f"NUPDOWN = {nupdown:g}: impossible with {cell.n_carriers} carrier(s); remove the tag")
    if "MAGMOM" in tags:
        try:
            moments = read_magmom(tags["MAGMOM"])
        except VaspError as error:
            return [*said, str(error)]
        if len(moments) != cell.n_atoms:
            said.append(
                f"MAGMOM has {len(moments)} values for {cell.n_atoms} atoms: give one per site, in POSCAR order"
            )
    for tag, values in (hubbard or {}).items():
        if len(values) != len(cell.species):
            said.append(f"{tag} has {len(values)} values for the blocks {' '.join(cell.species)}: give one per block")
    for atom in occ_atoms:
        if not 0 <= atom < cell.n_atoms:
            said.append(
                f"OCCMATRIX names atom {atom + 1} of a cell with {cell.n_atoms}: number atoms from 1 as in POSCAR"
            )
            continue
        species = cell.species_of(atom)
        shells = dict(zip(cell.species, (hubbard or {}).get("LDAUL", []), strict=False))
        if shells.get(species, -1) < 0:
            said.append(
                f"OCCMATRIX names atom {atom + 1} ({species}), LDAUL = -1 there: the patch acts inside DFT+U; "
                f"give {species} an l in LDAUL"
            )
    return said


def _readable(tags: Mapping, said: list[str]) -> dict:
    """`tags` with the single numbers among them as numbers, however they were written; `said` names what is none."""
    readable = dict(tags)
    for tag, convert in _SINGLE_NUMBERS.items():
        if tag not in tags:
            continue
        try:
            number = float(tags[tag])
            if convert is int and number != int(number):
                raise ValueError
            readable[tag] = convert(number)
        except (TypeError, ValueError, OverflowError):
            said.append(f"{tag} = {tags[tag]!r}: give one {'whole number' if convert is int else 'number'}")
            del readable[tag]
    return readable


def _stage(stage: str) -> dict:
    if stage not in _STAGES:
        raise VaspError(f"stage = {stage!r}: choose one of {', '.join(STAGES)}")
    return {**_COMMON, **_STAGES[stage]}


def _truth(value) -> bool:
    return str(value).strip(". ").upper()[:1] in ("T", "1")


def _numbers(value) -> list[float]:
    if value is None:
        return []
    return [float(v) for v in (value.split() if isinstance(value, str) else value)]


def _vasp(value) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, (list, tuple)):
        return " ".join(_vasp(v) for v in value)
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1 else str(value)
