"""A hand-made OUTCAR with known content, in the flavours of VASP 5.4.4 and 6.4: just enough for our reader.

Everything comes from a seed, rounded to the printed digits, so that a test can ask for equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.run import Run

RULE = "-" * 104
FLAVOURS = ["5.4.4.18Apr17-6-g9f103f2a35", "6.4.2"]
THERMOSTAT = (
    "temperature", "kinetic", "kinetic_lattice", "thermostat_potential", "thermostat_kinetic", "conserved",
)  # fmt: skip


@dataclass
class Sample:
    """What to print. Atoms are one block of Ti (d matrices) and one of O (none)."""

    version: str = "6.4.2"
    n_ti: int = 2
    n_o: int = 4
    n_steps: int = 3
    n_electronic: int = 3
    nelm: int = 60
    ediff: float = 1e-5
    ibrion: int = 0
    isif: int = 2
    ispin: int = 2
    lorbit: int = 11
    nwrite: int = 2
    noncollinear: bool = False
    nelect: float | None = None  # default: one electron more than the neutral cell
    shell: int = 2  # l of the onsite matrices
    n_l: int = 3  # columns s, p, d (f) of the tables
    first_onsite: int = 1  # electronic iteration from which onsite matrices are printed
    unconverged: tuple[int, ...] = ()  # steps that run out of NELM
    touching: bool = False  # glued columns in the matrices
    spin_down: bool = False  # the cell's moment points down
    occ_lines: tuple[str, ...] = ()
    seed: int = 0
    steps: list[dict] = field(default_factory=list)

    @property
    def n(self) -> int:
        return self.n_ti + self.n_o

    def text(self) -> str:
        """The file; the values printed for each step are left in `steps`."""
        rng = np.random.default_rng(self.seed)
        self.steps = [self._values(rng, k) for k in range(self.n_steps)]
        return "".join([self._header(), *(self._step(k, s) for k, s in enumerate(self.steps)), self._footer()])

    def _values(self, rng, k: int) -> dict:
        sign = -1 if self.spin_down else 1
        by_l = np.round(rng.uniform(-0.02, 0.02, (self.n, self.n_l)), 3)
        by_l[k % self.n_ti, 2] = 0.8
        by_l *= sign
        onsite = np.round(
            rng.uniform(-0.1, 0.4, (self.n_electronic, self.n_ti, 2, 2 * self.shell + 1, 2 * self.shell + 1)), 4
        )
        onsite = np.round(0.5 * (onsite + onsite.swapaxes(-1, -2)), 4)
        if self.touching:
            onsite[:, 0, :, 1, 3] = onsite[:, 0, :, 3, 1] = -13.7153
        return {
            "energy": round(rng.uniform(-60, -50), 8),
            "positions": np.round(rng.uniform(0, 6, (self.n, 3)), 5),
            "forces": np.round(rng.normal(0, 1, (self.n, 3)), 6),
            "kilobar": np.round(rng.normal(0, 30, 6), 5),
            "cell": np.round(np.diag(rng.uniform(5, 7, 3)) + rng.uniform(-0.5, 0.5, (3, 3)), 9),
            "charge_by_l": np.round(rng.uniform(0, 2, (self.n, self.n_l)), 3),
            "moment_by_l": by_l,
            "cell_moment": sign * 1.0,
            "onsite": onsite,
            "temperature": round(rng.uniform(100, 500), 2),
            "kinetic": round(rng.uniform(0, 2), 6),
            "kinetic_lattice": round(rng.uniform(0, 1e-3), 6),
            "thermostat_potential": round(rng.uniform(-1, 1), 6),
            "thermostat_kinetic": round(rng.uniform(0, 1), 6),
            "conserved": round(rng.uniform(-50, -40), 6),
            "n_electronic": self.nelm if k + 1 in self.unconverged else self.n_electronic,
        }

    def _header(self) -> str:
        neutral = 12.0 * self.n_ti + 6.0 * self.n_o
        nelect = neutral + 1 if self.nelect is None else self.nelect
        modern = self.version.startswith("6")
        echo = "   ISPIN = 1\n   LDAUU = 9.0 9.0 (U for each species)\n   NELM = 7 ! an echo, not the value used\n"
        return "".join(
            [
                f" vasp.{self.version} 18Apr17 (build ...) complex\n",
                " INCAR:\n",
                echo if modern else "",
                " POTCAR:    PAW_PBE Ti_sv 26Sep2005\n POTCAR:    PAW_PBE O 08Apr2002\n",
                " POTCAR:    PAW_PBE Ti_sv 26Sep2005\n   POMASS =   47.880; ZVAL   =   12.000    mass and valenz\n",
                *(f"{line}\n" for line in self.occ_lines),
                f"   number of dos      NEDOS =    301   number of ions     NIONS = {self.n:6d}\n",
                f"   ions per type =             {self.n_ti:3d}{self.n_o:4d}\n",
                f"   NWRITE = {self.nwrite:6d}    write-flag & timer\n",
                f"   ISPIN  = {self.ispin:6d}    spin polarized calculation?\n",
                f"   LNONCOLLINEAR =      {'T' if self.noncollinear else 'F'} non collinear calculations\n",
                f"   NELM   = {self.nelm:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps\n",
                f"   EDIFF  = {self.ediff:.1E}   stopping-criterion for ELM\n",
                f"   NSW    = {self.n_steps:6d}    number of steps for IOM\n",
                f"   ISIF   = {self.isif:6d}    stress and relaxation\n",
                f"   IBRION = {self.ibrion:6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n",
                "  Ionic Valenz\n   ZVAL   =  12.00  6.00\n",
                f"   NELECT = {nelect:12.4f}    total number of electrons\n",
                f"   LORBIT = {self.lorbit:6d}    0 simple, 1 ext\n",
                " LDA+U is selected, type is set to LDAUTYPE =  2\n",
                f"   angular momentum for each species LDAUL = {self.shell:5d}   -1\n",
                "   U (eV)           for each species LDAUU =   3.9  0.0\n",
                "   J (eV)           for each species LDAUJ =   0.0  0.0\n",
                f"{_volume(np.eye(3))}\n{RULE}\n\n\n",
            ]
        )

    def _step(self, k: int, s: dict) -> str:
        blank = "" if self.version.startswith("6") else " "
        out = [f"---------------------- Ionic step {k + 1:8d}  ----------------------\n"] if blank == "" else []
        for e in range(s["n_electronic"]):
            out += [
                f"{'-' * 39} Iteration {k + 1:6d}({e + 1:4d})  {'-' * 39}\n\n\n",
                "    POTLOK:  cpu time    0.0058: real time    0.0058\n",
            ]
            if e + 1 >= self.first_onsite:
                matrices = s["onsite"][min(e, self.n_electronic - 1)]
                out += [_onsite(atom + 1, self.shell, pair, blank) for atom, pair in enumerate(matrices)]
            small = e + 1 == s["n_electronic"] and k + 1 not in self.unconverged
            change = 0.1 * self.ediff if small else 100 * self.ediff
            moment = f"{s['cell_moment']:15.7f}" if self.ispin == 2 else ""
            out += [
                "    --------------------------------------------\n",
                "      LOOP:  cpu time    0.03: real time    0.03\n\n",
                f" total energy-change (2. order) :{-change:14.7E}  ({change:14.7E})\n",
                f" number of electron {float(self.n):15.7f} magnetization {moment}\n",
                f"  free energy    TOTEN  = {s['energy'] + change:19.8f} eV\n\n{RULE}\n",
            ]
        reached = "because EDIFF is reached ------------------"
        if k + 1 in self.unconverged and blank == "":
            reached = "EDIFF was not reached (unconverged)  ------"
        out.append(f"------------------------ aborting loop {reached}\n\n\n")
        out.append(self._tables(s, blank))
        if self.nwrite > 0 or k in (0, self.n_steps - 1):
            out += [
                "  in kB  " + "".join(f"{v:12.5f}" for v in s["kilobar"]) + "\n",
                _volume(s["cell"]),
                f"\n POSITION                                       TOTAL-FORCE (eV/Angst)\n {RULE}\n",
                *(
                    "".join(f"{v:13.5f}" for v in x) + "   " + "".join(f"{v:14.6f}" for v in f) + "\n"
                    for x, f in zip(s["positions"], s["forces"], strict=True)
                ),
                f" {RULE}\n    total drift:      0.000000      0.000000      0.000000\n\n",
            ]
        out += [
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n",
            f"  free  energy   TOTEN  = {s['energy']:19.8f} eV\n\n",
            f"  energy  without entropy={s['energy']:17.8f}  energy(sigma->0) ={s['energy']:17.8f}\n\n",
        ]
        if self.ibrion == 0:
            out.append(_thermostat(s))
        return "".join(out) + "     LOOP+:  cpu time    0.6574: real time    0.6575\n\n\n"

    def _tables(self, s: dict, blank: str) -> str:
        if self.lorbit < 10:
            return ""
        tables = [(f" total charge{'     ' if blank else ''}", s["charge_by_l"])]
        if self.ispin == 2:
            tables.append((" magnetization (x)", s["moment_by_l"]))
        return "".join(_table(title, values, blank) for title, values in tables)

    def _footer(self) -> str:
        last = self._tables(self.steps[-1], "" if self.version.startswith("6") else " ") if self.steps else ""
        return (
            last + " General timing and accounting informations for this job:\n\n   Total CPU time used (sec):   3.0\n"
        )


def _thermostat(s: dict) -> str:
    return (
        "  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"% ion-electron   TOTEN  = {s['energy']:16.6f}  see above\n"
        f"  kinetic energy EKIN   = {s['kinetic']:16.6f}\n"
        f"  kin. lattice  EKIN_LAT= {s['kinetic_lattice']:16.6f}  (temperature {s['temperature']:7.2f} K)\n"
        f"  nose potential ES     = {s['thermostat_potential']:16.6f}\n"
        f"  nose kinetic   EPS    = {s['thermostat_kinetic']:16.6f}\n"
        "  ---------------------------------------------------\n"
        f"  total energy   ETOTAL = {s['conserved']:16.6f} eV\n\n"
    )


def force_field_blocks(n: int, thermostat: bool) -> str:
    """What a run with a machine-learned force field prints of it in a step of `n` atoms, all numbers 7.77: before the
    electronic iterations of a step, or (with `thermostat`) instead of them."""
    sevens = dict.fromkeys(
        ("energy", "kinetic", "kinetic_lattice", "thermostat_potential", "thermostat_kinetic", "conserved"), 7.77
    )
    rows = f"{7.77:13.5f}" * 3 + "   " + f"{7.77:14.6f}" * 3 + "\n"
    return (
        "  ML FORCE on cell =-STRESS in cart. coord. units (eV/cell)\n"
        f"  in kB  {f'{7.77:12.5f}' * 6}\n  volume of cell :      469.10\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        f"{(f'{7.77:13.9f}' * 6 + chr(10)) * 3}\n"
        f"  POSITION                                       TOTAL-FORCE (eV/Angst) (ML)\n {RULE}\n{rows * n} {RULE}\n\n"
        "  ML FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        "  free  energy ML TOTEN  =         7.77000000 eV\n\n"
        "  ML energy  without entropy=        7.77000000  ML energy(sigma->0) =        7.77000000\n\n"
        + (_thermostat(sevens | {"temperature": 777.0}) if thermostat else "")
    )


def _volume(cell: np.ndarray) -> str:
    rows = "".join("".join(f"{v:13.9f}" for v in [*row, 0.0, 0.0, 0.0]) + "\n" for row in cell)
    return (
        f" VOLUME and BASIS-vectors are now :\n {RULE}\n  energy-cutoff  :      400.00\n"
        "  volume of cell :       67.35\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{rows}"
    )


def _table(title: str, values: np.ndarray, blank: str) -> str:
    rows = [f"{i + 1:5d}     " + "".join(f"{v:8.3f}" for v in [*row, row.sum()]) + "\n" for i, row in enumerate(values)]
    names = "".join(f"{name:>8}" for name in "spdf"[: values.shape[1]])
    header = f"# of ion{names}       tot\n" + "-" * 42 + "\n"
    foot = "-" * 50 + "\ntot       " + "".join(f"{v:8.3f}" for v in [*values.sum(0), values.sum()]) + "\n"
    return f"{title}\n{blank}\n{header}{''.join(rows)}{foot if len(values) > 1 else ''}{blank}\n\n"


def _onsite(atom: int, shell: int, pair: np.ndarray, blank: str) -> str:
    out = [f"atom = {atom:3d}  type =  1  l = {shell}\n{blank}\n onsite density matrix\n{blank}\n"]
    for spin, matrix in enumerate(pair):
        rows = ["".join(f"{v:8.4f}" for v in row) + "\n" for row in matrix]
        out.append(f"spin component  {spin + 1}\n{blank}\n{''.join(rows)}{blank}\n")
    vector = "".join(f"{0.0:8.4f}" for _ in range(10))
    return "".join(out) + f" occupancies and eigenvectors\n{blank}\n  o =  0.0464  v ={vector}     {vector}\n"


def read_text(tmp_path, text: str) -> Run:
    """What the reader makes of an OUTCAR of this text."""
    (tmp_path / "OUTCAR").write_text(text)
    return read_outcar(tmp_path / "OUTCAR")


def read(tmp_path, sample: Sample) -> Run:
    return read_text(tmp_path, sample.text())
