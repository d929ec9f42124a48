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

from leopold_model.vasp.run import VaspError

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
                yield _decompressed(plain, decompressor)
                return
        yield iter(plain)


def _decompressed(handle: BinaryIO, decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """Lines of a compressed file; damage ends them."""
    stream, rest = decompressor(), b""
    while chunk := handle.read(1 << 16):
        try:
            data = stream.decompress(chunk)
            while stream.eof and stream.unused_data:  # files put end to end
                chunk, stream = stream.unused_data, decompressor()
                data += stream.decompress(chunk)
        except (zlib.error, lzma.LZMAError, OSError):
            break
        lines = io.BytesIO(rest + data).readlines()
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield from lines
    if rest:
        yield rest
