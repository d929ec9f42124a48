"""Failures on request, so that what reads and restarts runs can be tested against each of them.

`LEOPOLD_STANDIN_FAIL` holds a comma-separated list of `kind` or `kind@step`:

    crash         ends before the first step, with a message on stderr and code 1
    nelm          the electronic loop exhausts NELM at that step (without a step: at every step)
    kill          killed (SIGKILL) while the magnetization table of that step is being written (default: halfway)
    truncate      runs to its end, then OUTCAR and vasprun.xml end inside the forces of that step (default: halfway)
    moved         from that step on (default 1) the carrier is drawn to the farthest site
    delocalised   from that step on (default 1) the carrier is spread over the band
    orbital       from that step on (default 1) the printed spin of every site is in the orbital it has least of
    glued         onsite columns of that step (default 1) touch, as VASP prints unphysical occupations

`moved`, `delocalised` and `orbital` spare runs with imposed occupations, so that it is the release that fails. With
`LEOPOLD_STANDIN_FAIL_ONCE=FILE` only the first run fails that finds no FILE; it creates it.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leopold_model.standin.step import Matrices
from leopold_model.standin.vasp_input import InputError

KINDS = ("crash", "nelm", "kill", "truncate", "moved", "delocalised", "orbital", "glued")


@dataclass(frozen=True)
class Failures:
    """Kind -> requested step, None where the request names none."""

    requested: dict[str, int | None]
    steps: int

    @classmethod
    def from_environment(cls, steps: int) -> Failures:
        text = os.environ.get("LEOPOLD_STANDIN_FAIL", "")
        requested: dict[str, int | None] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            kind, _, step = item.partition("@")
            if kind not in KINDS or (step and not step.isdigit()):
                raise InputError(
                    f"LEOPOLD_STANDIN_FAIL: {item!r}; choose kind or kind@step with kind one of {', '.join(KINDS)}"
                )
            requested[kind] = int(step) if step else None
        marker = os.environ.get("LEOPOLD_STANDIN_FAIL_ONCE")
        if requested and marker:
            if Path(marker).exists():
                requested = {}
            else:
                Path(marker).touch()
        return cls(requested, steps)

    def at(self, kind: str, step: int) -> bool:
        """Whether `kind` strikes at this step alone."""
        if kind not in self.requested:
            return False
        wanted = self.requested[kind]
        if wanted is None:
            wanted = {"kill": (self.steps + 1) // 2, "truncate": (self.steps + 1) // 2, "glued": 1, "nelm": step}[kind]
        return step == wanted

    def since(self, kind: str, step: int) -> bool:
        """Whether `kind` holds from its step on."""
        return kind in self.requested and step >= (self.requested[kind] or 1)

    def __contains__(self, kind: str) -> bool:
        return kind in self.requested


def kill() -> None:
    """End as a batch system ends a job."""
    os.kill(os.getpid(), signal.SIGKILL)


def halfway(text: bytes, marker: bytes) -> bytes:
    """`text` up to the middle of what follows the last `marker`."""
    start = text.rfind(marker)
    return text[: max(start, 0) + (len(text) - max(start, 0)) // 3] if start >= 0 else text[: len(text) // 2]


def turn(onsite: Matrices) -> Matrices:
    """The matrices with the moment of every atom in the orbital that had the least of it, traces as they were."""
    turned: Matrices = ([], [])
    for up, down in zip(*onsite, strict=True):
        vectors = np.linalg.eigh(up - down)[1]
        values = np.abs(np.diag(vectors.T @ (up - down) @ vectors))
        orbital = vectors[:, np.argmin(values)]
        spin = np.trace(up - down) * np.outer(orbital, orbital)
        turned[0].append(0.5 * (up + down + spin))
        turned[1].append(0.5 * (up + down - spin))
    return turned


def glue(onsite: Matrices, atom: int) -> Matrices:
    """The matrices with an unphysical row on one atom, wide enough for its columns to touch."""
    up = list(onsite[0])
    up[atom] = np.array(up[atom])
    up[atom][0, :3] = (-7.9985, 11.2215, -13.7153)
    up[atom][:3, 0] = up[atom][0, :3]
    return up, onsite[1]
