"""The onsite occupation matrices of LDAUPRINT as OUTCAR prints them: one block per atom with LDAUL >= 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leopold_model.standin.fortran import f8_4


class OnsiteBlocks:
    """Prints sets of onsite matrices of one list of atoms.

    The text is laid out once; a set only fills its numbers in. `types` and `l` have one entry per atom (1-based type;
    l < 0: no block), `spins` is 1 or 2.
    """

    def __init__(self, types: Sequence[int] | np.ndarray, l: Sequence[int] | np.ndarray, spins: int):  # noqa: E741
        self.l, self.spins = np.asarray(l), spins
        pieces: list[bytes] = []
        fields: list[tuple[int, np.ndarray]] = []
        length = 0
        for atom, (kind, momentum) in enumerate(zip(types, l, strict=True)):
            if momentum >= 0:
                text, holes = _layout(atom + 1, kind, momentum, spins)
                fields.append((momentum, holes + length))
                pieces.append(text)
                length += len(text)
        self.template = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        self.groups = [
            (
                m,
                np.flatnonzero(self.l == m).tolist(),
                np.array([f for k, f in fields if k == m]).ravel()[:, None] + np.arange(8),
            )
            for m in sorted({k for k, _ in fields})
        ]

    def text(self, up: Sequence[np.ndarray], down: Sequence[np.ndarray]) -> bytes:
        """One set. A shell that the model does not have (another l than its own) is printed empty."""
        page = self.template.copy()
        for momentum, atoms, where in self.groups:
            d = 2 * momentum + 1
            empty = np.zeros((d, d))
            blocks = [
                np.array([spin[i] if spin[i].shape == (d, d) else empty for i in atoms])
                for spin in (up, down)[: self.spins]
            ]
            page[where] = f8_4(
                np.concatenate([*[b.reshape(len(atoms), -1) for b in blocks], _eigen(blocks)], axis=1).ravel()
            )
        return page.tobytes()


def _layout(atom: int, kind: int, momentum: int, spins: int) -> tuple[bytes, np.ndarray]:
    """Text of one block with holes, and the offsets of the holes."""
    d = 2 * momentum + 1
    hole = "\x01" * 8
    lines = [f"atom = {atom:3d}  type = {kind:2d}  l = {momentum}", " ", " onsite density matrix"]
    for spin in range(spins):
        lines += [" ", f"spin component  {spin + 1}", " ", *[hole * d] * d]
    lines += [" ", " occupancies and eigenvectors", " "]
    # real parts only, as from a gamma-only build
    lines += [f"  o ={hole}  v ={hole * (d * spins)}"] * (d * spins)
    text = ("\n".join(lines) + "\n").encode()
    return text, np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 1)[::8]


def _eigen(blocks: list[np.ndarray]) -> np.ndarray:
    """Rows (occupation, eigenvector over both spins), ascending, flattened per atom."""
    count, d, _ = blocks[0].shape
    spins = len(blocks)
    values, vectors = np.zeros((count, spins * d)), np.zeros((count, spins * d, spins * d))
    for s, block in enumerate(blocks):
        w, v = np.linalg.eigh(block)
        part = slice(s * d, (s + 1) * d)
        values[:, part], vectors[:, part, part] = w, v.transpose(0, 2, 1)
    order = np.argsort(values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    vectors = np.take_along_axis(vectors, order[:, :, None], axis=1)
    return np.concatenate([values[:, :, None], vectors], axis=2).reshape(count, -1)
