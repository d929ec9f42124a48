"""The self-test passes here, and names the operation when one is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from leopold_model import selftest


def test_this_release_is_sound():
    selftest.require_sound_jax.__wrapped__()


def test_a_wrong_sum_is_refused_by_name(monkeypatch):
    right = list(selftest._cases())
    name, found, expected, tolerance = right[0]
    monkeypatch.setattr(selftest, "_cases", lambda: [(name, np.asarray(found) * 0.82, expected, tolerance)])
    with pytest.raises(selftest.UnsoundJax, match=r"jax \d+\.\d+.*matvec -> sum.*pip install"):
        selftest.require_sound_jax.__wrapped__()
