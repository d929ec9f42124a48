"""`leopold convert PICKLE MODEL`: a published LEOPOLD model as a model file of ours.

A published file holds weights and architecture, but not what the model is for: elements, carrier, and for MgO the one
cell it holds for. For the published models themselves that is known; for others trained with that code it is asked.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from leopold_model import __version__
from leopold_model.checkpoint import Model, ModelError, save_model
from leopold_model.frames import UNITS
from leopold_model.published import PublishedSpec
from leopold_model.published_pickle import read_pickle

# what `published` computes; a file that says otherwise is another network
_REQUIRED = {
    "r_max": 5.0, "sh_irreps": "1x0e + 1x1e", "use_sc": True, "occup_clipping": False, "predict_magmom": False,
    "nonlinearities": {"e": "raw_swish", "o": "tanh"}, "radial_net_nonlinearity": "raw_swish",
    "radial_net_n_layers": 2,
}  # fmt: skip
# SHA-256 of the published files -> elements, carrier, edge of the cubic cell of one trained on nearest images
_KNOWN: dict[str, tuple[str, str, float | None]] = {
    "a996208529455e873b1c4e14a46fde23ef5146df3340f3366887bd78eab8cead": ("O Mg", "hole", 8.449313),
    "e671bf42b79ec9346f8e8dc9a9431e90f33beec4403a0346697e01ab858ae827": ("O Ti", "electron", None),
    "e74dfa9bd7367641effd13c3a89fd4f38b217f8549a4fcbb4a49242c4da47b26": ("O F Ti", "electron", None),
}


def convert(
    path: str | Path, elements: str | None = None, carrier: str | None = None, cube: float | None = None
) -> Model:
    """The published model in `path` as a Model in float64; ModelError when it is none, or not known well enough.

    `elements` chemical symbols with spaces between, `carrier` 'electron' or 'hole', `cube` edge (Angstrom) of the cubic
    cell of a model trained on the nearest image of each pair; each may be left out for the models of the paper.
    """
    config, tree = read_pickle(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if digest in _KNOWN:
        known = _KNOWN[digest]
        elements, carrier, cube = elements or known[0], carrier or known[1], cube or known[2]
    if elements is None or carrier is None:
        raise ModelError(f"{path} is none of the models of the paper: say what it is with --elements and --carrier")
    try:
        spec, params, shift = _network(config, tree["params"], _numbers(elements))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: {error} is missing: not a published LEOPOLD model, or damaged") from None
    except (ValueError, ArithmeticError) as error:
        raise ModelError(f"{path}: {error}") from None
    header = {
        "carrier": carrier,
        "n_carriers": 1,
        "units": UNITS,
        "converted_from": {"file": Path(path).name, "sha256": digest},
        "versions": {"leopold": __version__},
    }
    if cube is not None:
        header |= {"images": "nearest", "cell": np.diag([cube] * 3).tolist()}
    return Model(spec, params, np.full(len(spec.elements), shift), header)


def _numbers(elements: str) -> tuple[int, ...]:
    unknown = [symbol for symbol in elements.split() if symbol not in atomic_numbers]
    if unknown:
        raise ModelError(f"--elements {elements!r}: {unknown[0]!r} is no chemical symbol; write them as 'O Ti'")
    return tuple(sorted({atomic_numbers[symbol] for symbol in elements.split()}))


def _network(config: dict, tree: dict, elements: tuple[int, ...]) -> tuple[PublishedSpec, dict, float]:
    """Architecture, parameters with all constant factors folded in, and energy shift per atom (eV)."""
    for name, value in _REQUIRED.items():
        if config[name] != value:
            raise ValueError(f"{name} is {config[name]!r}, but only {value!r} can be converted")
    Z, layers = len(elements) + 1, config["graph_net_steps"]
    if config["n_elements"] != Z:
        raise ValueError(
            f"it was trained on {config['n_elements'] - 1} elements, {len(elements)} were named: see --elements"
        )
    S, V = (int(part.split("x")[0]) for part in config["hidden_irreps"].split("+"))
    if config["hidden_irreps"] != f"{S}x0e + {V}x1e":
        raise ValueError(f"hidden_irreps {config['hidden_irreps']!r} are not scalars and vectors, both even")
    n_radial, hidden = config["num_basis"], config["radial_net_n_hidden"]
    spec = PublishedSpec(elements, config["r_max"], layers=layers, scalars=S, vectors=V, n_radial=n_radial,
                         radial_hidden=(hidden, hidden))  # fmt: skip

    def layer(k: int) -> dict:
        source = tree[f"NequIPConvolution_{k}"]
        first, last = k == 0, k == layers - 1
        used, through = (S, S) if first else (S + V, S + 2 * V)
        sizes = (n_radial, hidden, hidden, 2 * S + 3 * V)
        radial = [_shaped(source["MLP_0"][f"Dense_{i}"]["kernel"], *sizes[i : i + 2]) for i in range(3)]
        # the published code rounds the 2/rc of its Bessel functions to float32
        radial[0] = radial[0] * float(np.float32(2 / config["r_max"]))
        # columns as they come: 00 -> 0, 01 -> 1, 10 -> 1, 11 -> 0, 11 -> 1; each with the norm of its product with
        # sqrt 3 times the direction. The first layer, which has no vectors yet, leaves the last three out.
        s0, s1, v1, v0, x1 = np.split(radial[2], np.cumsum([S, S, V, V]), axis=1)
        kept = [s0] if first else [s0, v0]
        if not last:
            kept += [3**0.5 * s1] if first else [3**0.5 * s1, v1, 1.5**0.5 * x1]
        radial[2] = np.concatenate(kept, axis=1)
        up, down, own = source["Linear_0"], source["Linear_1"], source["FullyConnectedTensorProductE3nn_0"]
        down0 = [_weight(down, "w[0,0]", used, S), _weight(down, "w[0,1]", used, V)]
        self0 = _weight(own, "w[0,0,0]", S, Z, S + V).transpose(1, 0, 2) / (S * Z) ** 0.5
        wide = S if last else S + V
        p = {
            "radial": radial,
            "up0": _weight(up, "w[0,0]", S, S) / S**0.5,
            "down0": np.concatenate(down0, axis=1)[:, :wide] / (used**0.5 * config["n_neighbors"]),
            "self0": self0[:, :, :wide],
        }
        if not first:
            p["up1"] = _weight(up, "w[1,1]", V, V) / V**0.5
        if not last:
            p["down1"] = _weight(down, "w[1,2]", through, V) / (through**0.5 * config["n_neighbors"])
        if not first and not last:
            p["self1"] = _weight(own, "w[1,0,1]", V, Z, V).transpose(1, 0, 2) / (V * Z) ** 0.5
        return p

    def head(first: str, second: str, n_out: int) -> np.ndarray:
        half = S // 2
        return (
            _weight(tree[first], "w[0,0]", S, half) @ _weight(tree[second], "w[0,0]", half, n_out) / (S * half) ** 0.5
        )

    params = {
        "embedding": _weight(tree["Linear_0"], "w[0,0]", Z, S) / Z**0.5,
        "frequencies": _shaped(tree["BesselEmbedding_0"]["frequencies"], n_radial),
        "layers": [layer(k) for k in range(layers)],
        "heads": {"energy": head("Linear_1", "Linear_2", 1), "occupations": head("Linear_3", "Linear_4", 2)},
        "scales": {
            "energy": _shaped(config["scale"]),
            "occupation_scale": np.tile(_shaped(config["scale_occ"], Z - 1, 1), 2),
            "occupation_shift": np.tile(_shaped(config["shift_occ"], Z - 1, 1), 2),
        },
    }
    return spec, jax.tree.map(jnp.asarray, params), float(_shaped(config["shift"]))


def _weight(weights: dict, name: str, *shape: int) -> np.ndarray:
    """The one array whose key is `name` followed by its irreps."""
    for key, value in weights.items():
        if key.startswith(name + " "):
            return _shaped(value, *shape)
    raise KeyError(name)


def _shaped(value, *shape: int) -> np.ndarray:
    array = np.asarray(value, dtype=float)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"an array of shape {array.shape}, where one of {shape} and finite is due: the file is damaged"
        )
    return array


@click.command()
@click.argument("pickle", type=click.Path(dir_okay=False))
@click.argument("model", type=click.Path(dir_okay=False))
@click.option("--elements", help="Chemical symbols, as in 'O Ti'. Known for the models of the paper.")
@click.option("--carrier", type=click.Choice(["electron", "hole"]), help="Known for the models of the paper.")
@click.option(
    "--cube",
    type=click.FloatRange(min=0, min_open=True),
    help="Edge (Angstrom) of the cubic cell of a model trained on the nearest image of each pair. Known for MgO.",
)
def command(pickle, model, elements, carrier, cube):
    """Turn a published LEOPOLD model (PICKLE, read without running anything in it) into a MODEL of ours.

    Example: leopold convert MgO.pkl mgo.leopold
    """
    try:
        converted = convert(pickle, elements, carrier, cube)
        save_model(model, converted)
    except (ModelError, OSError) as error:
        raise click.ClickException(str(error)) from None
    spec = converted.spec
    about = f"{converted.carrier} in {' '.join(chemical_symbols[z] for z in spec.elements)}"
    click.echo(f"{model}: {about}, cut-off {spec.cutoff:g} Angstrom, images: {converted.images}")
