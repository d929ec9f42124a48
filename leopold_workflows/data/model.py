"""`ModelData` (`leopold.model`): a trained network as one `.leopold` file."""

from __future__ import annotations

import json
from pathlib import Path

from ase.data import chemical_symbols

from leopold_workflows.data.fixed_file import FixedFileData


class ModelData(FixedFileData):
    """A model file: one line of JSON (the header), then raw arrays. The header is set as attributes.

    The file is opaque here: reading the arrays needs the network, which lives beside the accelerator, not beside AiiDA.
    """

    FILE = "model.leopold"

    @property
    def header(self) -> dict:
        """The JSON header: architecture, units, carrier, n_carriers, hash of the data, pathways seen, versions ..."""
        return self.base.attributes.get("header")

    @property
    def elements(self) -> list[str]:
        """Symbols of the species it was trained on."""
        return self.base.attributes.get("elements")

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        with path.open("rb") as handle:
            line = handle.readline(1 << 22)
        try:
            header = json.loads(line)
            elements = [chemical_symbols[number] for number in header["spec"]["elements"]]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise ValueError(f"{path.name} does not begin with the JSON header of a LEOPOLD model file") from None
        return {"header": header, "elements": elements, **{k: header[k] for k in _QUERIED if k in header}}


# what one would look a model up by; the rest stays inside `header`
_QUERIED = ("carrier", "n_carriers", "dataset", "settings", "temperatures", "pathways")
