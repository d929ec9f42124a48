"""Files from anywhere: whatever is wrong with one ends in one kind of error, before memory is spent on it.

A file of a few kilobytes can promise arrays of terabytes (zeros that were never written, or pack well), and an HDF5
file can name other files of the reader's machine whose content then appears as its own (external links, external
storage, virtual datasets). Files of ours have neither.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

# bytes unpacked from one byte of file: what is measured or computed packs tenfold at most, a constant thousandfold
RATIO = 100
ALLOWED = 1 << 28  # bytes, whatever the ratio


def allowed(path: str | Path) -> int:
    """Bytes that the content of a file may take once it is unpacked."""
    return max(ALLOWED, RATIO * Path(path).stat().st_size)


@contextmanager
def open_hdf5(path: str | Path, error: type[ValueError], remedy: str, linked: str = "") -> Iterator[h5py.File]:
    """An HDF5 file open for reading; whatever is raised inside is an `error` that names it and ends with `remedy`.

    Refused are files that name others, but for the one name `linked` at the root, and those that promise too much.
    """
    path = Path(path)
    if not path.is_file():
        raise error(f"{path} does not exist; {remedy}")
    try:
        h5 = h5py.File(path, "r")
    except Exception as fault:
        raise error(f"{path} is not a readable HDF5 file ({fault}); {remedy}") from None
    with h5:
        try:
            _refuse(h5, path, linked)
            yield h5
        except error:
            raise
        except Exception as fault:  # h5py raises a dozen kinds on damaged files, numpy on what they hold then
            raise error(f"{path} is damaged ({_said(fault)}); {remedy}") from fault


def _refuse(h5: h5py.File, path: Path, linked: str) -> None:
    size, promised = path.stat().st_size, 0
    links: dict[str, h5py.HardLink | h5py.SoftLink | h5py.ExternalLink] = {}
    h5.visititems_links(links.__setitem__)  # nothing may be raised in there
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            if name != linked:
                raise ValueError(f"{name!r} is a link to {getattr(link, 'filename', link.path)!r}")
            continue
        item = h5[name]
        if not isinstance(item, h5py.Dataset):
            continue
        if item.external or item.is_virtual:
            raise ValueError(f"{name!r} is kept in another file")
        # what has no fixed length may be as long as the file each time
        promised += item.size * (size if item.dtype.hasobject else item.dtype.itemsize)
        if promised > allowed(path):
            raise ValueError(f"arrays of {promised:.1e} bytes in a file of {size}")


def read_npz(path: str | Path, error: type[ValueError], remedy: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; an `error` that names it and ends with `remedy` where they cannot be had."""
    path = Path(path)
    if not path.is_file():
        raise error(f"{path} does not exist; {remedy}")
    try:
        with zipfile.ZipFile(path) as archive:
            promised = sum(max(member.file_size, _size(archive, member)) for member in archive.infolist())
        if promised > allowed(path):
            raise ValueError(f"arrays of {promised:.1e} bytes in a file of {path.stat().st_size}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as fault:  # zip, zlib and numpy raise their own
        raise error(f"{path} is no readable .npz file ({_said(fault)}); {remedy}") from None


def _size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of an array as its header has them."""
    with archive.open(member) as file:
        read = {1: read_array_header_1_0, 2: read_array_header_2_0}[read_magic(file)[0]]
        shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}".partition("\n")[0]
