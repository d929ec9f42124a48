"""The lines of a text file of VASP, plain or compressed, whole or cut anywhere.

A run that was killed leaves a file that ends inside a line, and a copy that was interrupted leaves a compressed one
that ends inside a block: both end the lines, and nothing of what stands before is lost (Python's own `gzip` and `lzma`
give up the last block).
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from leopold_model.foreign import allowed
from leopold_model.vasp.run import VaspError

_PIECE = 1 << 20  # bytes unpacked at a time: a small file may hold terabytes
_LONGEST = 1 << 24  # bytes of a line

# how a compressed file begins: what undoes the compression; found by content, since files are renamed
_COMPRESSIONS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
    b"BZh": bz2.BZ2Decompressor,
}


@contextmanager
def open_lines(path: str | Path):
    """An iterator over the lines (bytes) of `path`: plain, gzip, xz or bzip2. Raises VaspError if it does not exist."""
    if not Path(path).is_file():
        raise VaspError(f"{path} does not exist: give a run folder, or its OUTCAR, vaspout.h5 or vasprun.xml")
    with open(path, "rb", buffering=1 << 20) as plain:
        start = plain.peek(6)[:6]  # type: ignore[attr-defined]
        for magic, decompressor in _COMPRESSIONS.items():
            if start.startswith(magic):
                yield _decompressed(plain, decompressor, allowed(path))
                return
        yield iter(plain)


def _decompressed(handle: BinaryIO, decompressor: Callable[[], Any], most: int) -> Iterator[bytes]:
    """Lines of a compressed file; damage ends them, and so does more than `most` bytes or an endless line."""
    rest, total = b"", 0
    for data in _unpacked(handle, decompressor):
        total += len(data)
        lines = io.BytesIO(rest + data).readlines()
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield from lines
        if total > most or len(rest) > _LONGEST:
            return
    if rest:
        yield rest


def _unpacked(handle: BinaryIO, decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """The content of a compressed file in pieces; damage ends it."""
    stream = decompressor()
    while chunk := handle.read(1 << 16):
        try:
            while True:
                if stream.eof:  # files put end to end
                    stream = decompressor()
                yield stream.decompress(chunk, _PIECE)
                # of what was read, zlib gives back what it has not unpacked; the others keep it
                chunk = stream.unused_data if stream.eof else getattr(stream, "unconsumed_tail", b"")
                if not chunk and (stream.eof or getattr(stream, "needs_input", True)):
                    break
        except (zlib.error, lzma.LZMAError, OSError):
            return
