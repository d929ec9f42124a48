"""The model file: what a network is, what it has seen, and its arrays.

Layout: one line of JSON (the header), then the arrays end to end as raw little-endian bytes in the order the header
lists them. No pickle, so a foreign file can be read without running anything in it; what the header says is held
against the arrays before either is used. Suffix `.leopold`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from flax import traverse_util
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leopold_model import __version__
from leopold_model.frames import Frame
from leopold_model.graph import Edges, edge_vectors, neighbours
from leopold_model.network import AnySpec, Outputs, Spec, evaluate, member_outputs, n_members
from leopold_model.published import PublishedSpec

FORMAT = "leopold-model"
FORMAT_VERSION = 1
VARIANTS: dict[str, type[AnySpec]] = {s.variant: s for s in (Spec, PublishedSpec)}  # type: ignore[attr-defined]
CELL_TOLERANCE = 1e-3  # Angstrom; a model of one cell is not asked to notice how many digits a file keeps


class ModelError(ValueError):
    """A model file that cannot be read, or a structure it cannot serve; the message says what to do."""


_Vector = tuple[float, float, float]
_Size = Annotated[int, Field(ge=0, lt=1 << 40)]


class _Header(BaseModel):
    """What of a header is relied on; it may say more."""

    model_config = ConfigDict(extra="allow")

    format_version: int
    arrays: list[tuple[str, Literal["<f4", "<f8"], list[_Size]]]
    spec: dict[str, bool | int | float | list[int]]
    carrier: Literal["electron", "hole"] = "electron"
    n_carriers: Annotated[int, Field(ge=1)] = 1
    calibration: dict[str, float] = Field({})
    images: Literal["all", "nearest"] = "all"
    cell: tuple[_Vector, _Vector, _Vector] | None = None


@dataclass(frozen=True)
class Model:
    """A trained network.

    `spec` static architecture, `params` pytree of arrays, `references` (n_species,) float64 eV, the energy of one atom
    of each species, to be added to the network's energies; `header` what the file says besides: `carrier`,
    `n_carriers`, `total_moment`, `dataset`, `settings`, `temperatures` [lowest, highest] K, `pathways` {name: count},
    `versions`, `units`, `training`; `images` "nearest" with `cell` (3, 3) Angstrom for one that knows a single image of
    each pair, and so a single cell.
    """

    spec: AnySpec
    params: dict
    references: np.ndarray
    header: dict = field(default_factory=dict)

    @property
    def cutoff(self) -> float:
        return self.spec.cutoff

    @property
    def carrier(self) -> str:
        return self.header.get("carrier", "electron")

    @property
    def n_carriers(self) -> int:
        return int(self.header.get("n_carriers", 1))

    @property
    def calibration(self) -> dict[str, float]:
        """What the spreads of `energy`, `forces` and `occupations` over the members are to be multiplied by."""
        return {"energy": 1.0, "forces": 1.0, "occupations": 1.0} | self.header.get("calibration", {})

    @property
    def total_moment(self) -> float | None:
        """Mean sum of the moments of all atoms over the training frames, mu_B; None in files that do not say."""
        return self.header.get("total_moment")

    @property
    def images(self) -> str:
        """The images its pair lists hold: "all" or "nearest"."""
        return self.header.get("images", "all")

    @property
    def dtype(self) -> np.dtype:
        return self.params["embedding"].dtype

    def astype(self, dtype) -> Model:
        """The same model with its arrays in float32 or float64."""
        return replace(self, params=jax.tree.map(lambda x: jnp.asarray(x, dtype), self.params))

    def species_index(self, numbers) -> np.ndarray:
        """Index into `spec.elements` of each atomic number, (n,) int32; ModelError naming a species it has not seen."""
        return species_index(self.spec.elements, numbers)

    def must_fit(self, frames: Sequence[Frame], where: str) -> None:
        """ModelError unless the model knows species and cell of all `frames`, and the kind and number of carriers."""
        for k, frame in enumerate(frames):
            self.species_index(frame.numbers)
            self.must_serve(frame.cell, frame.pbc)
            if (frame.carrier, len(frame.carrier_sites)) != (self.carrier, self.n_carriers):
                raise ModelError(
                    f"{where}, frame {k}: {len(frame.carrier_sites)} {frame.carrier}(s), but the model was trained "
                    f"with {self.n_carriers} {self.carrier}(s): use frames of that carrier, or train without "
                    "initial_model"
                )

    def must_serve(self, cell, pbc) -> None:
        """ModelError when the model holds for one periodic cell and `cell` (3, 3) Angstrom, `pbc` (3,) is another."""
        if self.images == "all":
            return
        own = np.asarray(self.header["cell"], dtype=float)
        if not np.all(pbc) or np.abs(np.asarray(cell, dtype=float) - own).max() > CELL_TOLERANCE:
            raise ModelError(
                f"cell {np.round(cell, 4).tolist()}, pbc {np.broadcast_to(pbc, 3).tolist()}: this model was trained "
                f"with one image of each pair (images: nearest), so it holds for the periodic cell {own.tolist()} "
                "alone. Use that cell, or a model trained with all images"
            )

    def neighbours(self, positions, cell, pbc, capacity: int | None = None) -> Edges:
        """The pair list the model wants (see `graph.neighbours`); ModelError for a cell it cannot serve."""
        self.must_serve(cell, pbc)
        return neighbours(positions, cell, pbc, self.cutoff, capacity, self.images)

    def reference_energy(self, species) -> float:
        """Sum of the species' reference energies, eV: constant for a composition."""
        return float(self.references[np.asarray(species)].sum())

    def evaluate(self, positions, cell, edges: Edges, species, charge) -> Outputs:
        """One compiled evaluation in the model's dtype; the energy is relative to the references (see `Outputs`).

        Vectors are formed in float64 before they are rounded to the model's dtype, so large cells keep their digits.
        """
        return _evaluate(self.spec, self.params, jnp.asarray(positions, float), jnp.asarray(cell, float), edges,
                         jnp.asarray(species), jnp.asarray(charge))  # fmt: skip

    def energy_forces(self, positions, cell, edges: Edges, species, charge) -> tuple[float, np.ndarray, np.ndarray]:
        """Total energy (eV, references included), forces (n, 3) eV/Angstrom and occupations (n, 2)."""
        out = self.evaluate(positions, cell, edges, species, charge)
        return float(out.energy) + self.reference_energy(species), np.asarray(out.forces), np.asarray(out.occupations)


@partial(jax.jit, static_argnums=0)
def _evaluate(spec, params, positions, cell, edges, species, charge) -> Outputs:
    vectors = edge_vectors(positions, cell, edges).astype(params["embedding"].dtype)
    return evaluate(params, spec, vectors, edges.senders, edges.receivers, edges.mask, species, charge)


def species_index(elements, numbers) -> np.ndarray:
    """Position of each atomic number in `elements` (ascending); ModelError naming those that are absent."""
    elements, numbers = np.asarray(elements), np.asarray(numbers)
    unseen = sorted(set(numbers.tolist()) - set(elements.tolist()))
    if unseen:
        raise ModelError(
            f"species {', '.join(chemical_symbols[z] for z in unseen)} not in this model, which was trained on "
            f"{', '.join(chemical_symbols[z] for z in elements)}: train on frames that hold every species"
        )
    return np.searchsorted(elements, numbers).astype(np.int32)


def save_model(path: str | Path, model: Model) -> None:
    """Write `model`; arrays keep their dtype. Replaces the file in one step, so a killed job leaves no half of one."""
    flat = traverse_util.flatten_dict(_listed(model.params), sep="/")
    arrays = {"references": np.asarray(model.references, dtype=float), **{k: np.asarray(v) for k, v in flat.items()}}
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package": __version__,
        "variant": model.spec.variant,
        "spec": asdict(model.spec),
        **model.header,
        "arrays": [[name, a.dtype.newbyteorder("<").str, list(a.shape)] for name, a in arrays.items()],
    }
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as handle:
        handle.write(json.dumps(header).encode() + b"\n")
        for a in arrays.values():
            handle.write(np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")).tobytes())
    part.replace(path)


def read_header(path: str | Path) -> dict:
    """The JSON header alone."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"model file {str(path)!r} does not exist")
    with open(path, "rb") as handle:
        return _header(path, handle.readline(10_000_000))


def load_model(path: str | Path) -> Model:
    """Read a model; ModelError when the file is foreign, damaged, or written by a newer version."""
    path = Path(path)
    header = read_header(path)
    data = path.read_bytes()
    offset, arrays = data.index(b"\n") + 1, {}
    for name, dtype, shape in header.pop("arrays"):
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if offset + size > len(data):
            raise ModelError(f"{path} is cut short: array {name!r} is missing. Copy the file again")
        arrays[name] = np.frombuffer(data, dtype, count, offset).reshape(shape)
        offset += size
    if offset != len(data):
        raise ModelError(f"{path} has {len(data) - offset} bytes too many: it is damaged. Copy the file again")
    variant = VARIANTS[header["variant"]]
    known = {f.name: f.default is MISSING for f in fields(variant)}  # name: whether a file must tell it
    spec: dict = {k: tuple(v) if isinstance(v, list) else v for k, v in header.pop("spec").items()}
    # what an older file does not name has its default
    unfit = {name for name in set(spec) ^ set(known) if known.get(name, True)}
    if unfit:
        raise ModelError(f"{path}: architecture keys {sorted(unfit)} do not fit this version: update leopold")
    for key in ("format", "format_version", "package", "variant"):
        header.pop(key, None)
    try:
        references = arrays.pop("references").copy()
        params = _unlisted(traverse_util.unflatten_dict({k: jnp.asarray(v) for k, v in arrays.items()}, sep="/"))
        model = Model(variant(**spec), params, references, header)
        _check(model)
    except Exception as error:  # flax and jax raise a dozen kinds on arrays that do not fit together
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path}: architecture and arrays do not fit ({why}): it is damaged. Copy it again") from error
    return model


def _check(model: Model) -> None:
    """Raise unless architecture and arrays make a network; it is evaluated for its shapes alone."""
    spec, n = model.spec, 2
    for name, value in vars(spec).items():
        for number in value if isinstance(value, tuple) else (value,):
            if not 0 < number < 1e5:
                raise ModelError(f"{name} = {value}")
    if list(spec.elements) != sorted({int(z) for z in spec.elements if z < len(chemical_symbols)}):
        raise ModelError(f"elements = {spec.elements}: atomic numbers, ascending")
    if model.images == "nearest" and model.header.get("cell") is None:
        raise ModelError("images = nearest without a cell")
    of = jax.ShapeDtypeStruct
    structure = of((1, 3), model.dtype), of((1,), int), of((1,), int), of((1,), bool), of((n,), int), of((n,), int)
    energies, occupations = jax.eval_shape(lambda p, *rest: member_outputs(p, spec, *rest), model.params, *structure)
    shapes = energies.shape, occupations.shape, model.references.shape
    wanted = (n_members(spec), n), (n_members(spec), n, 2), (len(spec.elements),)
    if shapes != wanted:
        raise ModelError(f"energies, occupations, references of shapes {shapes}, expected {wanted}")


def _header(path: Path, line: bytes) -> dict:
    try:
        header = json.loads(line)
        if header["format"] != FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(
            f"{path} is not a LEOPOLD model file (.leopold, written by `leopold train` or `leopold convert`)"
        ) from None
    try:
        _Header.model_validate(header)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path}: header: {where}: {first['msg']}: it is damaged. Copy it again") from None
    if header["format_version"] > FORMAT_VERSION:
        raise ModelError(
            f"{path} has model format {header['format_version']} (leopold {header.get('package')}), newer than "
            f"{FORMAT_VERSION}: update leopold"
        )
    if header.get("variant") not in list(VARIANTS):
        raise ModelError(f"{path} holds the variant {header.get('variant')!r}, unknown to this version: update leopold")
    return header


def _listed(tree):
    """Lists as dicts with zero-padded keys, which flatten to sorted names."""
    if isinstance(tree, list | tuple):
        return {f"#{k:03d}": _listed(v) for k, v in enumerate(tree)}
    return {k: _listed(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _unlisted(tree):
    if not isinstance(tree, dict):
        return tree
    if tree and all(k.startswith("#") for k in tree):
        return [_unlisted(tree[k]) for k in sorted(tree)]
    return {k: _unlisted(v) for k, v in tree.items()}
