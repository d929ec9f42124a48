"""Compressed and cut files give their lines."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from leopold_model.vasp.lines import open_lines
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.run import VaspError
from tests.vasp.outcar_text import Sample

COMPRESSIONS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": lambda data: bz2.compress(data, 1)}


def lines(path) -> bytes:
    with open_lines(path) as found:
        return b"".join(found)


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_compressed_files_are_read_whatever_they_are_called(tmp_path, kind):
    text = Sample(n_steps=6).text().encode()
    path = tmp_path / "OUTCAR"
    path.write_bytes(COMPRESSIONS[kind](text))
    assert lines(path) == text
    assert len(read_outcar(path).complete_steps) == 6
    path.write_bytes(COMPRESSIONS[kind](text[:5000]) + COMPRESSIONS[kind](text[5000:]))  # put end to end
    assert lines(path) == text


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_damage_in_a_compressed_file_ends_the_lines(tmp_path, kind):
    noise = np.random.default_rng(0).integers(32, 127, 300_000).astype(np.uint8).tobytes()  # compresses badly
    whole = noise.replace(b" ", b"\n")
    data = COMPRESSIONS[kind](whole)
    path = tmp_path / "OUTCAR"
    path.write_bytes(data[: len(data) // 2])
    found = lines(path)
    assert whole.startswith(found) and len(found) > len(whole) // 4
    path.write_bytes(data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :])
    assert whole.startswith(lines(path)[: len(whole) // 4])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(VaspError, match="gone does not exist: give"), open_lines(tmp_path / "gone"):
        pass
