"""Training, validation and test labels that do not know each other.

Symmetry-equivalent labels are one label: all of an orbit go to the same side, or a mirror image of a training label
would validate it. Split by `pattern`, everything with the same vacancies and dopants stays together, which asks
whether energies of defect patterns never seen are learned.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.labels import LabelSet

PARTS = ("train", "validation", "test")


def split(
    labels: LabelSet,
    by: Literal["orbit", "pattern"] = "orbit",
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Masks (n,) of the `train`, `validation` and `test` labels. Fractions are of labels; whole orbits or patterns are
    drawn at random until a part is full."""
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise PatternError(f"validation = {validation}, test = {test}: positive fractions with a sum below 1")
    keys = labels.keys if by == "orbit" else labels.defect_keys
    names, member, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise PatternError(f"labels hold {len(names)} different {by}s: three parts need at least 3; add labels")
    order = np.random.default_rng(seed).permutation(len(names))
    part = np.zeros(len(names), dtype=int)
    cursor = 0
    for k, share in ((1, validation), (2, test)):
        filled = 0
        while filled < share * len(labels) and cursor < len(names) - (3 - k):
            part[order[cursor]] = k
            filled += sizes[order[cursor]]
            cursor += 1
    return {name: part[member] == k for k, name in enumerate(PARTS)}
