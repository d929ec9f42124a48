"""The data schema: one labelled frame, its keys and units, and the two file formats that hold lists of them.

Units are eV, Angstrom, fs, K and mu_B; stress is in eV/Angstrom^3 with ASE's sign (tensile positive). The spin axis of
`occupations` is (up, down), where up is the majority spin of the carrier, so that moments are positive on its site.

Two formats, chosen by suffix: extended XYZ (`.xyz`, `.extxyz`, also `.gz`) for people and other codes, HDF5 (`.h5`) for
nodes and long runs. Both hold the same keys and both refuse unknown or missing ones.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as ase_read
from ase.io import write as ase_write
from ase.symbols import Symbols

from leopold_model.foreign import allowed, open_hdf5

FORMAT_VERSION = 1
UNITS = "energy eV, length Angstrom, time fs, temperature K, moment mu_B, stress eV/Angstrom^3 (ASE sign)"


class FrameError(ValueError):
    """A frame or frame file that does not fit the schema; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Frame:
    """One structure with its labels.

    Shapes: `numbers` (n,), `positions` (n, 3), `cell` (3, 3), `pbc` (3,), `forces` (n, 3), `stress` (3, 3) or None,
    `occupations` (n, 2) or None (onsite traces per spin; zero on atoms whose species has no onsite matrix),
    `moments` (n,) or None (magnetization inside the projection sphere), `velocities` (n, 3) in Angstrom/fs or None.

    `carrier_sites` are the atoms that carry the excess charge (the charge state the network is told), `requested_sites`
    the atoms a label was asked to put it on. `run` names the trajectory a frame belongs to: data are split by run.
    `pathway` is the hop class a frame was taken from, empty outside hops.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    energy: float = float("nan")
    forces: np.ndarray | None = None
    pbc: np.ndarray = None  # type: ignore[assignment]
    stress: np.ndarray | None = None
    occupations: np.ndarray | None = None
    moments: np.ndarray | None = None
    velocities: np.ndarray | None = None
    carrier: str = "electron"
    carrier_sites: tuple[int, ...] = ()
    requested_sites: tuple[int, ...] = ()
    source: str = ""
    run: str = ""
    step: int = -1
    label: str = ""
    pathway: str = ""
    temperature: float = float("nan")
    converged: bool = True
    settings: str = ""

    def __post_init__(self):
        set_ = object.__setattr__
        set_(self, "numbers", np.asarray(self.numbers, dtype=np.int32))
        set_(self, "pbc", np.asarray((True, True, True) if self.pbc is None else self.pbc, dtype=bool))
        for name, shape in _arrays(len(self.numbers)).items():
            value = getattr(self, name)
            if value is None:
                if name in ("positions", "cell"):
                    raise FrameError(f"frame without {name}: every frame needs them")
                continue
            value = np.asarray(value, dtype=float)
            if value.shape != shape:
                raise FrameError(f"{name} has shape {value.shape}, expected {shape} for {len(self.numbers)} atoms")
            set_(self, name, value)
        if not abs(np.linalg.det(self.cell)) > 1e-6:
            raise FrameError(f"cell {self.cell.tolist()} has no volume: give three independent vectors, in Angstrom")
        for name in ("carrier_sites", "requested_sites"):
            sites = tuple(int(i) for i in getattr(self, name))
            if sites and not 0 <= min(sites) <= max(sites) < len(self.numbers):
                raise FrameError(f"{name} = {sites} but the frame has atoms 0 to {len(self.numbers) - 1}")
            set_(self, name, sites)
        if self.carrier not in ("electron", "hole"):
            raise FrameError(f"carrier = {self.carrier!r}: choose 'electron' or 'hole'")
        for name in ("energy", "temperature"):
            set_(self, name, float(getattr(self, name)))

    def __repr__(self) -> str:
        sites = f" on {', '.join(map(str, self.carrier_sites))}" if self.carrier_sites else ""
        where = f", {self.run or 'no run'} step {self.step}" if self.run or self.step >= 0 else ""
        formula = Symbols(self.numbers).get_chemical_formula()
        return f"Frame({formula}, {self.carrier}{sites}{where}, {self.energy:.3f} eV)"

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labelled(self) -> bool:
        """Whether the frame can be trained on: energy and forces present and finite."""
        return bool(np.isfinite(self.energy) and self.forces is not None and np.isfinite(self.forces).all())

    @property
    def spin_moments(self) -> np.ndarray | None:
        """The moments a model learns, n_up - n_down, shape (n,); the sphere moments where occupations are absent."""
        return self.moments if self.occupations is None else self.occupations[:, 0] - self.occupations[:, 1]

    @property
    def id(self) -> str:
        """Hash of the canonical content: the key by which labels are matched to what was asked."""
        return content_hash([self])[:16]

    def to_atoms(self) -> Atoms:
        """ASE atoms with the labels on a SinglePointCalculator and as arrays."""
        atoms = Atoms(self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        results: dict = {} if np.isnan(self.energy) else {"energy": self.energy}
        if self.forces is not None:
            results["forces"] = self.forces
        if self.stress is not None:
            s = self.stress
            results["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
        if self.moments is not None:
            results["magmoms"] = self.moments
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        if self.occupations is not None:
            atoms.set_array("occupations", self.occupations)
        if self.velocities is not None:
            atoms.set_array("velocities_A_per_fs", self.velocities)
        for name in _INFO:
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = " ".join(str(i) for i in value)
            if value not in ("", -1) and not (isinstance(value, float) and np.isnan(value)):
                atoms.info[name] = value
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Frame:
        """The frame behind ASE atoms written by `to_atoms`, or what a `LeopoldCalculator` answered for its atoms; keys
        outside the schema are refused."""
        results = dict(getattr(atoms.calc, "results", {}))
        stress = results.get("stress")
        if stress is not None and np.shape(stress) == (6,):
            xx, yy, zz, yz, xz, xy = stress
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        unknown = set(atoms.info) - set(_INFO) - {"units", "carrier_site"}
        if unknown:
            raise FrameError(
                f"unknown frame key {sorted(unknown)[0]!r}: known keys are {', '.join(_INFO)}. "
                "Rename or delete it in the comment line of the extxyz file"
            )
        info = {k: v for k, v in atoms.info.items() if k not in ("units", "carrier_site")}
        if "carrier_sites" in results:  # of a model, which answered for a carrier there and is no reference
            info |= {"carrier_sites": results["carrier_sites"], "carrier": results["carrier"], "source": "model"}
            info.pop("settings", None)
        if "carrier_site" in atoms.info:
            # as evaluations of the published models are written: one carrier, whose kind goes without saying
            site = int(atoms.info["carrier_site"])
            info = {"carrier_sites": (site,), "carrier": _carrier_on(atoms.numbers, site)} | info
        for name in ("carrier_sites", "requested_sites"):
            if name in info:
                info[name] = tuple(int(i) for i in np.atleast_1d(_split(info[name])))
        for name in ("source", "run", "label", "pathway", "settings"):
            if name in info:
                info[name] = str(info[name])
        return cls(
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            energy=results.get("energy", float("nan")),
            forces=results.get("forces"),
            stress=stress,
            moments=results.get("magmoms"),
            occupations=results.get("occupations", atoms.arrays.get("occupations")),
            velocities=atoms.arrays.get("velocities_A_per_fs"),
            **info,
        )


_INFO = (
    "carrier", "carrier_sites", "requested_sites", "source", "run", "step", "label", "pathway", "temperature",
    "converged", "settings",
)  # fmt: skip
_ANIONS = (7, 8, 9, 16, 17, 34, 35, 52, 53)  # N, O, S, Se, Te and the halogens
_SCALARS = ("energy", *(name for name in _INFO if name not in ("carrier_sites", "requested_sites")))


_COLUMNS = re.compile(rb":[SRIL]:(\d+)")
_MOST_COLUMNS = 1000
_LONGEST_LINE = 1 << 24  # bytes


def _arrays(n: int) -> dict[str, tuple[int, ...]]:
    return {
        "positions": (n, 3), "cell": (3, 3), "forces": (n, 3), "stress": (3, 3),
        "occupations": (n, 2), "moments": (n,), "velocities": (n, 3),
    }  # fmt: skip


def _carrier_on(numbers: np.ndarray, site: int) -> str:
    """What an excess charge on this atom is: a hole on an anion, an electron on anything else."""
    if not 0 <= site < len(numbers):
        raise FrameError(f"carrier_site = {site} but the frame has atoms 0 to {len(numbers) - 1}")
    return "hole" if numbers[site] in _ANIONS else "electron"


def _split(value) -> list | np.ndarray:
    return value.split() if isinstance(value, str) else value


def content_hash(frames: Iterable[Frame]) -> str:
    """SHA-256 over the canonical content (float64 little-endian, fixed field order); equal content, equal hash."""
    digest = hashlib.sha256()
    for frame in frames:
        for field in sorted(fields(frame), key=lambda f: f.name):
            value = getattr(frame, field.name)
            digest.update(field.name.encode())
            if isinstance(value, np.ndarray):
                kind = "<f8" if value.dtype.kind == "f" else "<i8"
                digest.update(str(value.shape).encode() + np.ascontiguousarray(value, dtype=kind).tobytes())
            else:
                digest.update(repr(value).encode())
    return digest.hexdigest()


def carrier_sites(moments: np.ndarray, n_carriers: int) -> tuple[int, ...]:
    """The `n_carriers` atoms with the largest moments, ascending; `moments` (n,) positive for the carrier's spin."""
    moments = np.asarray(moments)
    if n_carriers > len(moments):
        raise FrameError(f"{n_carriers} carriers but only {len(moments)} atoms")
    return tuple(sorted(int(i) for i in np.argsort(-moments, kind="stable")[:n_carriers]))


# the least of n moments over the largest, from which n carriers are told to have a site each: one that two sites share,
# beside others that nobody shares, has half
RESOLVED = 0.25
# mu_B: more than one carrier can bring to a site
ONE_CARRIER = 1.0


def resolved(largest: np.ndarray, n_carriers: int) -> np.ndarray:
    """Whether every one of `n_carriers` has a site of its own; `largest` (..., k) moments in mu_B, descending. One
    carrier always has; of several, two may be on one site, or one may be lost to the band."""
    return largest[..., n_carriers - 1] >= RESOLVED * largest[..., 0]


# ---------------------------------------------------------------------------------------------------------------- files


def holds_frames(path: str | Path) -> bool:
    """Whether a file says that it is one of frames: by suffix if extended XYZ, by its format if HDF5."""
    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        return path.name.removesuffix(".gz").endswith((".xyz", ".extxyz"))
    try:
        with h5py.File(path, "r") as h5:
            return h5.attrs.get("format") == "leopold-frames"
    except OSError:  # damaged
        return False


def read_frames(path: str | Path, fmt: str | None = None) -> list[Frame]:
    """All frames of a file; `fmt` ('extxyz' or 'h5') overrides the suffix."""
    path = Path(path)
    if not path.is_file():
        raise FrameError(f"frame file {str(path)!r} does not exist")
    if (fmt or _format(path)) == "h5":
        return _read_h5(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as lines:
            _look_through(lines, allowed(path))
        with opener(path, "rt") as handle:
            return [Frame.from_atoms(atoms) for atoms in ase_read(handle, index=":", format="extxyz")]
    except FrameError as error:
        raise FrameError(f"{path}: {error}") from None
    except Exception as error:  # ASE raises a dozen kinds on damaged text
        raise FrameError(f"{path} is not a readable extxyz file: {error}") from error


def _look_through(lines, most: int) -> None:
    """Raise where the text promises more atoms or columns than it has, which ASE would wait or make room for."""
    total = 0
    while line := lines.readline(_LONGEST_LINE):
        if not line.strip() or line.startswith(b"VEC"):
            continue
        n_atoms, comment = int(line), lines.readline(_LONGEST_LINE)
        columns = sum(int(n) for n in _COLUMNS.findall(comment))
        if columns > _MOST_COLUMNS:
            raise FrameError(f"Properties of {columns} columns: at most {_MOST_COLUMNS}; leave out what no frame holds")
        for k in range(n_atoms):
            if not (row := lines.readline(_LONGEST_LINE)):
                raise FrameError(f"a frame of {n_atoms} atoms ends after {k}: the file is cut, copy it again")
            total += len(row)
            if total > most:
                raise FrameError(f"more than {most} bytes of text: unpack it first if it is what it should be")


def write_frames(path: str | Path, frames: Sequence[Frame], fmt: str | None = None) -> None:
    """Write frames; the same frames give the same bytes in HDF5, so that a node's hash is a hash of content."""
    path = Path(path)
    if (fmt or _format(path)) == "h5":
        _write_h5(path, frames)
        return
    atoms = [frame.to_atoms() for frame in frames]
    for image in atoms:
        image.info["units"] = UNITS
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as handle:
        ase_write(handle, atoms, format="extxyz")


def _format(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    if name.endswith((".h5", ".hdf5")):
        return "h5"
    if name.endswith((".xyz", ".extxyz")):
        return "extxyz"
    raise FrameError(f"cannot tell the format of {path.name!r}: use .xyz, .extxyz, .xyz.gz or .h5")


def _write_h5(path: Path, frames: Sequence[Frame]) -> None:
    # ragged arrays are stored end to end with one count per frame; an array absent in some frames is NaN there
    counts = np.array([len(f) for f in frames], dtype=np.int32)
    with h5py.File(path, "w", track_order=False) as h5:
        h5.attrs["format"], h5.attrs["version"], h5.attrs["units"] = "leopold-frames", FORMAT_VERSION, UNITS

        def put(name, data, **kwargs):
            compression = {"compression": "gzip", "shuffle": True} if np.size(data) > 64 else {}
            h5.create_dataset(name, data=data, track_times=False, **compression, **kwargs)

        put("n_atoms", counts)
        put("numbers", np.concatenate([f.numbers for f in frames]) if frames else np.zeros(0, np.int32))
        put("pbc", np.array([f.pbc for f in frames], dtype=bool).reshape(-1, 3))
        for name in _arrays(0):
            values = [getattr(f, name) for f in frames]
            if any(v is not None for v in values):
                filled = [
                    np.full(_arrays(len(f))[name], np.nan) if v is None else v
                    for f, v in zip(frames, values, strict=True)
                ]
                put(name, np.stack(filled) if name in ("cell", "stress") else np.concatenate(filled))
        for name in _SCALARS:
            values = [getattr(f, name) for f in frames]
            if values and isinstance(values[0], str):
                put(name, np.array([v.encode() for v in values], dtype="S"))
            else:
                put(name, np.array(values, dtype=float if name in ("energy", "temperature") else int))
        for name in ("carrier_sites", "requested_sites"):
            sites = [getattr(f, name) for f in frames]
            put(f"{name}/count", np.array([len(s) for s in sites], dtype=np.int32))
            put(f"{name}/index", np.array([i for s in sites for i in s], dtype=np.int32))


def _read_h5(path: Path) -> list[Frame]:
    with open_hdf5(path, FrameError, "copy it again") as h5:
        if h5.attrs.get("format") != "leopold-frames":
            raise FrameError(f"{path} is an HDF5 file but holds no LEOPOLD frames")
        if h5.attrs["version"] > FORMAT_VERSION:
            raise FrameError(
                f"{path} has frame format {h5.attrs['version']}, newer than {FORMAT_VERSION}: update leopold"
            )
        data = {name: h5[name][()] for name in h5 if isinstance(h5[name], h5py.Dataset)}
        sites = {name: (h5[name]["count"][()], h5[name]["index"][()]) for name in ("carrier_sites", "requested_sites")}
        return _split_frames(data, sites)


def _split_frames(data: dict[str, np.ndarray], sites: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[Frame]:
    """The frames whose arrays lie end to end in `data`, and whose sites, with a count per frame, in `sites`."""
    counts = data["n_atoms"]
    if not (counts >= 0).all() or counts.sum(dtype=float) != len(data["numbers"]):
        raise FrameError(f"n_atoms adds up to {counts.sum(dtype=float):g}, numbers has {len(data['numbers'])} entries")
    starts = np.concatenate([[0], np.cumsum(counts)])
    site_starts = {name: np.concatenate([[0], np.cumsum(count)]) for name, (count, _) in sites.items()}
    frames = []
    for k in range(len(counts)):
        rows = slice(starts[k], starts[k + 1])
        values: dict = {"numbers": data["numbers"][rows], "pbc": data["pbc"][k]}
        for name in _arrays(0):
            if name in data:
                value = data[name][k] if name in ("cell", "stress") else data[name][rows]
                if not np.isnan(value).all():
                    values[name] = value
        for name in _SCALARS:
            value = data[name][k]
            if isinstance(value, bytes):
                value = value.decode()
            elif name == "converged":
                value = bool(value)
            elif name == "step":
                value = int(value)
            values[name] = value
        for name, (_, index) in sites.items():
            values[name] = tuple(index[site_starts[name][k] : site_starts[name][k + 1]])
        frames.append(Frame(**values))
    return frames


__all__ = [
    "FORMAT_VERSION", "UNITS", "Frame", "FrameError", "carrier_sites", "content_hash", "read_frames", "replace",
    "write_frames",
]  # fmt: skip
