"""Reads the pickles the published LEOPOLD models come in, without running anything in them.

A pickle is a program: `pickle.load` calls whatever function it names. Here every name a published file holds stands
for an inert stand-in of ours, so that arrays come out as numpy arrays and configurations as dicts; any other name is
refused before it is looked up.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path

import numpy as np

from leopold_model.checkpoint import ModelError


class ForeignPickle(pickle.UnpicklingError):
    """The pickle names a class or function that no published model needs."""


class _Config(dict):
    """A configuration: the fields, without the class's behaviour."""

    def __setstate__(self, state):
        self.update(state["_fields"])


class _Number:
    """A number format: code and byte order, for plain numbers only."""

    def __init__(self, code, align=False, copy=True):
        if code not in ("f4", "f8", "i4", "i8"):
            raise ForeignPickle(f"array of type {code!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        self.order = state[1]


class _Optimiser(tuple):
    """State of the optimiser, which a model does not need."""

    def __new__(cls, *fields):
        return super().__new__(cls)


class _Token:
    """Named beside every array, never called."""


def _array(function, arguments, state, aval) -> np.ndarray:
    """The array behind (version, shape, number format, Fortran order, bytes)."""
    _, shape, number, fortran, data = state
    flat = np.frombuffer(data, number.order + number.code)
    return flat.reshape(shape, order="F" if fortran else "C")


_STAND_INS = {
    ("ml_collections.config_dict.config_dict", "ConfigDict"): _Config,
    ("jax._src.array", "_reconstruct_array"): _array,
    ("numpy.core.multiarray", "_reconstruct"): _Token,
    ("numpy._core.multiarray", "_reconstruct"): _Token,  # its name in numpy 2
    ("numpy", "ndarray"): _Token,
    ("numpy", "dtype"): _Number,
    ("optax._src.transform", "ScaleByAdamState"): _Optimiser,
    ("optax._src.base", "EmptyState"): _Optimiser,
    ("optax.contrib._reduce_on_plateau", "ReduceLROnPlateauState"): _Optimiser,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise ForeignPickle(f"{module}.{name}") from None


def _look_through(data: bytes) -> None:
    """Raise where a pickle promises more bytes, or places to remember things in, than it has: room is made first."""
    for _, argument, _ in pickletools.genops(data):
        if isinstance(argument, int) and argument > len(data):
            raise ValueError(f"the number {argument} in a file of {len(data)} bytes")


def read_pickle(path: str | Path) -> tuple[dict, dict]:
    """(configuration, parameters) of a published model, as nested dicts with numpy arrays.

    Raises ModelError for an absent file, one that is no such pickle, and one that names anything else (and names it).
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"published model {str(path)!r} does not exist")
    try:
        data = path.read_bytes()
        _look_through(data)
        config, params, *_ = _Reader(io.BytesIO(data)).load()
        if not isinstance(config, _Config) or not isinstance(params, dict):
            raise ValueError("it holds something else than a configuration and parameters")
    except ForeignPickle as error:
        raise ModelError(
            f"{path} names {error}, which no published LEOPOLD model holds: refused, nothing of it was run. Get the "
            "file again from its authors"
        ) from None
    except Exception as error:  # damaged pickles raise nearly every kind there is
        raise ModelError(f"{path} is not a published LEOPOLD model, or damaged ({error}): copy it again") from None
    return dict(config), params
