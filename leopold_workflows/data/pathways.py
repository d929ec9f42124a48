"""`PathwaySetData` (`leopold.pathways`): the catalogue of symmetry-inequivalent hop classes, and what was seen."""

from __future__ import annotations

import io
import json
from pathlib import Path

from leopold_workflows.data.fixed_file import FixedFileData


class PathwaySetData(FixedFileData):
    """The catalogue as canonical JSON, `pathways.json`.

    A mapping with a list `pathways`, each entry having at least a unique `name` (like `O-O 2.96 A <110> x12`) and
    optionally `distance` (Angstrom), `multiplicity`, `hops`, `verified_labels`; whatever else the catalogue says
    (host, cutoff, criteria) stands beside the list. Attributes to query: `n_pathways`, `names`, `seen` (names with at
    least one hop), `verified` (names with at least one verified label).
    """

    FILE = "pathways.json"

    @classmethod
    def from_catalogue(cls, catalogue: dict) -> PathwaySetData:
        """A node with this catalogue, unstored; keys are sorted so that equal catalogues have equal bytes."""
        text = json.dumps(catalogue, sort_keys=True, indent=1, allow_nan=False)
        return cls(io.BytesIO(text.encode()))

    @property
    def catalogue(self) -> dict:
        with self.open(mode="r") as handle:
            return json.load(handle)

    @property
    def pathways(self) -> list[dict]:
        return self.catalogue["pathways"]

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        try:
            catalogue = json.loads(path.read_bytes())
        except RecursionError as error:
            raise ValueError(f"{path.name} is nested too deeply: {error}") from None
        pathways = catalogue.get("pathways") if isinstance(catalogue, dict) else None
        if not isinstance(pathways, list) or any(not isinstance(p, dict) or "name" not in p for p in pathways):
            raise ValueError("a pathway catalogue is a mapping with a list 'pathways' whose entries have a 'name'")
        names = [p["name"] for p in pathways]
        if len(set(names)) != len(names):
            raise ValueError(f"pathway names must be unique, got {names}")
        return {
            "n_pathways": len(names),
            "names": names,
            "seen": [p["name"] for p in pathways if p.get("hops", 0) > 0],
            "verified": [p["name"] for p in pathways if p.get("verified_labels", 0) > 0],
        }
