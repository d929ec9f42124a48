"""Short runs of dynamics on the spring crystal, for the tests of it."""

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from leopold_model.config import MDConfig
from leopold_model.md_simulation import simulate
from leopold_model.tracks import read_track
from tests.model import spring_crystal

QUIET = {"min_distance": 0.5, "min_approach": 0.0, "max_temperature_factor": 20.0, "min_moment": 0.0}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Runs of equal shape share their compiled block; a restart in these tests would else compile it again."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("jax")), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def run(directory, frames=None, field=None, **options):
    """A run on the spring crystal: (result, track)."""
    directory.mkdir(exist_ok=True)
    frames = frames or [spring_crystal.frame()]
    options = {"timestep": 4.0, "steps": 120, "block": 30, "stride": 10, "temperatures": [150.0], **options}
    options.setdefault("guards", QUIET)
    config = MDConfig(**options)
    result = simulate(config, frames, field or spring_crystal.force_field(frames[0]), directory)
    return result, read_track(directory / config.track)


def same(a, b):
    """Both tracks hold the same bytes in every dataset."""
    for one, other in zip(a.replicas, b.replicas, strict=True):
        for name in ("sites", "moments", "carrier", "energy", "kinetic_temperature", "conserved", "mean_positions"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        for name in ("positions", "step", "carrier", "moments", "occupations"):
            np.testing.assert_array_equal(getattr(one.windows, name), getattr(other.windows, name), err_msg=name)
