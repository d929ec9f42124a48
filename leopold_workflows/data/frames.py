"""`FrameSetData` (`leopold.frames`): a list of labelled frames as one HDF5 file."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from leopold_model.frames import Frame, content_hash, read_frames, write_frames
from leopold_workflows.data.fixed_file import FixedFileData


class FrameSetData(FixedFileData):
    """Frames of one study, `frames.h5` in the schema of `leopold_model.frames` (eV, Angstrom, fs, K, mu_B).

    Attributes to query: `n_frames`, `formula` (of the first frame), `elements`, `carrier`, `n_carriers`, `sources` and
    `pathways` (name: number of frames), `runs`, `settings` (distinct hashes of the labels' settings), `temperatures`
    (distinct), `content_hash` (SHA-256 of the canonical content).
    """

    FILE = "frames.h5"

    @classmethod
    def from_frames(cls, frames: Sequence[Frame]) -> FrameSetData:
        """A node with these frames, unstored; an empty list is a valid set of zero frames."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / cls.FILE
            write_frames(path, list(frames))
            return cls(path)

    def get_frames(self) -> list[Frame]:
        """All frames, in the order they were given."""
        with self.as_path() as path:
            return read_frames(path)

    @property
    def n_frames(self) -> int:
        return self.base.attributes.get("n_frames")

    def __len__(self) -> int:
        return self.n_frames

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        frames = read_frames(path)
        first = frames[0] if frames else None
        numbers = np.unique(np.concatenate([f.numbers for f in frames])) if frames else np.zeros(0, int)
        return {
            "n_frames": len(frames),
            "formula": Atoms(first.numbers).get_chemical_formula() if first else "",
            "elements": sorted(set(Atoms(numbers).get_chemical_symbols())),
            "carrier": first.carrier if first else "",
            "n_carriers": len(first.carrier_sites) if first else 0,
            "sources": dict(sorted(Counter(f.source for f in frames).items())),
            "pathways": dict(sorted(Counter(f.pathway for f in frames if f.pathway).items())),
            "runs": sorted({f.run for f in frames}),
            "settings": sorted({f.settings for f in frames}),
            "temperatures": sorted({f.temperature for f in frames if np.isfinite(f.temperature)}),
            "content_hash": content_hash(frames),
        }
