"""Small published-type models: random ones, and pickles as the published code leaves them."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from leopold_model import published
from leopold_model.checkpoint import Model


def random_model(seed: int = 0, dtype="float64", header=None, **changes) -> Model:
    settings = {"elements": (8, 12), "cutoff": 4.0, "onset": 3.0, "scalars": 6, "vectors": 3, "n_radial": 4,
                "radial_hidden": (5, 5)}  # fmt: skip
    spec = published.PublishedSpec(**(settings | changes))
    params = published.init(seed, spec, dtype)
    rng = np.random.default_rng(seed)
    for name, draw in (("occupation_scale", rng.uniform), ("occupation_shift", rng.normal)):
        params["scales"][name] = params["scales"][name] + draw(size=(len(spec.elements), 2)).astype(dtype)
    references = np.linspace(-4.0, -2.0, len(spec.elements))
    return Model(spec, params, references, {"carrier": "hole", "n_carriers": 1, **(header or {})})


def pickled(tmp_path, seed: int = 0, **changes):
    """A pickle of random weights (42 scalars replaced by 6, 8 vectors by 3), its configuration changed as asked."""
    rng = np.random.default_rng(seed)
    S, V, Z = 6, 3, 3

    def weights(**shapes):
        return {name.replace("_", ",") + "] irreps": jnp.asarray(rng.normal(size=s)) for name, s in shapes.items()}

    def named(prefix, **shapes):
        return {f"{prefix}[{key}": value for key, value in weights(**shapes).items()}

    layers = {}
    for k in range(3):
        used, through = (S, S) if k == 0 else (S + V, S + 2 * V)
        own, up = {"0_0_0": (S, Z, S + V)}, {"0_0": (S, S)}
        if k:
            own["1_0_1"], up["1_1"] = (V, Z, V), (V, V)
        sizes = (4, 5, 5, 2 * S + 3 * V)
        layers[f"NequIPConvolution_{k}"] = {
            "FullyConnectedTensorProductE3nn_0": named("w", **own),
            "Linear_0": named("w", **up),
            "Linear_1": named("w", **{"0_0": (used, S), "0_1": (used, V), "1_2": (through, V)}),
            "MLP_0": {
                f"Dense_{i}": {"kernel": jnp.asarray(rng.normal(size=sizes[i : i + 2]), "float32")} for i in range(3)
            },
        }
    params = {
        "BesselEmbedding_0": {"frequencies": jnp.arange(1.0, 5.0) * np.pi},
        **{f"Linear_{i}": named("w", **{"0_0": s}) for i, s in enumerate([(Z, S), (S, 3), (3, 1), (S, 3), (3, 2)])},
        **layers,
    }
    config = {
        "graph_net_steps": 3, "nonlinearities": {"e": "raw_swish", "o": "tanh"}, "use_sc": True, "n_elements": Z,
        "hidden_irreps": f"{S}x0e + {V}x1e", "sh_irreps": "1x0e + 1x1e", "num_basis": 4, "r_max": 5.0,
        "radial_net_nonlinearity": "raw_swish", "radial_net_n_hidden": 5, "radial_net_n_layers": 2,
        "n_neighbors": 40.0, "scalar_mlp_std": 4.0, "occup_clipping": False, "predict_magmom": False,
        "shift": jnp.asarray(-2.5), "scale": jnp.asarray(0.5), "scale_occ": jnp.asarray([[0.1], [0.2]]),
        "shift_occ": jnp.asarray([[1.0], [2.0]]),
    }  # fmt: skip
    path = tmp_path / "own.pkl"
    path.write_bytes(dumps(config | changes, {"params": params}))
    return path


def dumps(config, params) -> bytes:
    """The bytes of a pickle whose configuration is an ml_collections one, a package these tests do without."""

    class ConfigDict:
        def __init__(self, fields):
            self._fields = {k: ConfigDict(v) if isinstance(v, dict) else v for k, v in fields.items()}

    name = "ml_collections.config_dict.config_dict"
    ConfigDict.__module__, ConfigDict.__qualname__ = name, "ConfigDict"
    module = ModuleType(name)
    module.ConfigDict = ConfigDict
    with pytest.MonkeyPatch.context() as patch:
        for part in ("ml_collections", "ml_collections.config_dict", name):
            patch.setitem(sys.modules, part, module)
        return pickle.dumps([ConfigDict(config), params, ()])
