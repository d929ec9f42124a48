"""WAVECAR of the stand-in: the carrier's orbitals, and nothing of VASP's format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from leopold_model.standin.engine import State
from leopold_model.standin.vasp_input import InputError

FORMAT = "leopold-vasp-standin WAVECAR 1"


def write_wavecar(path: Path, state: State, parameters: str) -> None:
    """The electronic state of the stand-in, under VASP's name, in a format of its own."""
    header = {"format": FORMAT, "parameters": parameters, "shape": state.orbitals.shape}
    path.write_bytes(
        json.dumps(header).encode() + b"\n" + np.ascontiguousarray(state.orbitals, dtype=np.float64).tobytes()
    )


def read_wavecar(path: Path, n_sites: int) -> State:
    """The saved state; another number of carriers than the present run's is the caller's to refuse or to drop."""
    first, _, body = path.read_bytes().partition(b"\n")
    try:
        header = json.loads(first)
        known = header["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError("WAVECAR was not written by this stand-in: remove it or set ISTART = 0")
    if header["shape"][1] != n_sites:
        raise InputError(f"WAVECAR belongs to a cell with {header['shape'][1]} carrier sites, POSCAR has {n_sites}")
    return State(np.frombuffer(body, dtype=np.float64).reshape(header["shape"]).copy())
