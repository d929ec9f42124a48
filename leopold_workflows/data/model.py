"""`ModelData` (`leopold.model`): a trained network as one `.leopold` file."""

from __future__ import annotations

import json
from pathlib import Path

from leopold_workflows.data.fixed_file import FixedFileData


class ModelData(FixedFileData):
    """A model file: one line of JSON (the header), then raw arrays. The header is set as attributes.

    The file is opaque here: reading the arrays needs the network, which lives beside the accelerator, not beside AiiDA.
    """

    FILE = "model.leopold"

    @property
    def header(self) -> dict:
        """The JSON header: elements, cutoff, units, carrier, n_carriers, dataset hash, pathways seen, versions ..."""
        return self.base.attributes.get("header")

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        with path.open("rb") as handle:
            line = handle.readline(1 << 22)
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            raise ValueError(f"{path.name} does not begin with a JSON header line: not a LEOPOLD model file")
        return {"header": header, **{k: header[k] for k in _QUERIED if k in header}}


# what one would look a model up by; the rest stays inside `header`
_QUERIED = ("elements", "cutoff", "carrier", "n_carriers", "dataset_hash", "pathways", "temperature_range")
