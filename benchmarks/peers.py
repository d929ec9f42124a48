"""Other codes with networks of one size, and what each does for one step of dynamics (`md.py`).

A name begins with the package to install. All networks are NequIP's, of the size of the published LEOPOLD models: 42
scalars and 8 vectors, edges up to l = 1, 3 layers, cutoff 5 Angstrom; random parameters. Peers are flattered where
they cannot be equal: none predicts occupations, none records, and only the jax-md loop finds its neighbours and moves.
How they are trained is in `train_peers.py`.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

SCALARS, VECTORS, LAYERS, CUTOFF = 42, 8, 3, 5.0
RADIAL, NEIGHBOURS = 16, 50.0  # width of two hidden radial layers; what sums over neighbours are divided by
TEMPERATURE = 10.0  # K


def package(peer: str) -> str:
    return peer.split()[0]


def installed(peer: str) -> bool:
    return find_spec(package(peer).replace("-", "_")) is not None


def jax_md_network(atoms, dtype: str):
    """Of a crystal: shift, list maker, energy(params, positions, neighbours, atoms=columns), params, columns (n, C).

    Positions are fractional; the charge state is the last column, as in the published code.
    """
    from jax_md import energy, space
    from jax_md.nn import nequip

    config = nequip.default_config()
    config.update(
        graph_net_steps=LAYERS, hidden_irreps=f"{SCALARS}x0e + {VECTORS}x1e", sh_irreps="1x0e + 1x1e", r_max=CUTOFF,
        radial_net_n_hidden=RADIAL, n_neighbors=NEIGHBOURS, scale=0.01, shift=0.0,
    )  # fmt: skip
    elements, species = np.unique(atoms.numbers, return_inverse=True)
    config.n_elements = len(elements) + 1
    columns = jax.nn.one_hot(species, config.n_elements).at[0, -1].set(1)
    cell = jnp.asarray(atoms.cell.array.T)
    displacement, shift = space.periodic_general(cell)
    lists, init_params, network = energy.nequip_neighbor_list(
        displacement, cell, config, fractional_coordinates=True, disable_cell_list=True
    )
    positions = jnp.asarray(atoms.get_scaled_positions())
    params = init_params(jax.random.PRNGKey(0), positions, lists.allocate(positions), atoms=columns)
    return shift, lists, network, jax.tree.map(lambda x: x.astype(dtype), params), columns


def jax_md_loop(atoms, dtype: str):
    """The loop of the published LEOPOLD code: one compiled step with a new list over all N^2 pairs, driven from Python.

    There the site with the largest moment gets the carrier; a component of the forces stands in for the moments here.
    """
    from jax_md import quantity, simulate

    double = partial(jax.enable_x64, dtype == "float64")

    with double():
        shift, lists, network, params, columns = jax_md_network(atoms, dtype)
        positions = jnp.asarray(atoms.get_scaled_positions())
        neighbours = lists.allocate(positions)

        def potential(positions, columns, **_):
            return network(params, positions, neighbours.update(positions), atoms=columns)

        init, move = simulate.nvt_nose_hoover(potential, shift, units.fs, TEMPERATURE * units.kB)
        state = init(jax.random.PRNGKey(0), positions, mass=atoms.get_masses(), columns=columns)

        @jax.jit
        def update(state, columns):
            state = move(state, columns=columns)
            return state, potential(state.position, columns)

    def step():
        nonlocal state, columns
        with double():
            state, energy = update(state, columns)
            if jnp.isnan(energy):
                raise FloatingPointError("the energy is not a number")
            site = jnp.argsort(state.force[:, 0])[0]
            columns = columns.at[:, -1].set(0).at[site, -1].set(1)
            jax.block_until_ready((columns, quantity.temperature(velocity=state.velocity, mass=state.mass)))

    return step


def nequip_network(atoms, mode: str = "eager"):
    """Model in PyTorch and its data of these atoms, list included; `mode` as nequip's `compile_mode`."""
    import torch
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    torch.set_num_threads(1)
    set_global_state()
    elements, species = np.unique(atoms.get_chemical_symbols(), return_inverse=True)
    model = NequIPGNNModel(
        seed=0, model_dtype="float32", compile_mode=mode, type_names=elements.tolist(), r_max=CUTOFF,
        num_layers=LAYERS, l_max=1, parity=False, num_features=[SCALARS, VECTORS], radial_mlp_depth=2,
        radial_mlp_width=RADIAL, avg_num_neighbors=NEIGHBOURS,
    )  # fmt: skip
    data = compute_neighborlist_(from_ase(atoms), CUTOFF)
    data[AtomicDataDict.ATOM_TYPE_KEY] = torch.as_tensor(species)
    return model, data


def nequip_forces(atoms):
    """Energy, forces and stress by nequip in PyTorch, eager, with a given list."""
    model, data = nequip_network(atoms)
    model.eval()
    return lambda: model(dict(data))["forces"].numpy()


def nequix_network(atoms):
    """Model in JAX and its graph of these atoms; call in 32-bit mode."""
    from nequix.data import atomic_numbers_to_indices, dict_to_graphstuple, preprocess_graph
    from nequix.model import Nequix

    indices = atomic_numbers_to_indices(sorted(set(atoms.numbers)))
    graph = dict_to_graphstuple(preprocess_graph(atoms, indices, CUTOFF, targets=False))
    model = Nequix(
        jax.random.PRNGKey(0), len(indices), lmax=1, cutoff=CUTOFF, hidden_irreps=f"{SCALARS}x0e + {VECTORS}x1o",
        n_layers=LAYERS, radial_mlp_size=RADIAL, radial_mlp_layers=2, avg_n_neighbors=NEIGHBOURS,
    )  # fmt: skip
    return model, graph


def nequix_forces(atoms):
    """Energy, forces and stress by nequix in JAX, compiled, with a given list without padding."""
    import equinox
    import jraph

    with jax.enable_x64(False):
        model, graph = nequix_network(atoms)
        graph = jraph.pad_with_graphs(graph, len(atoms) + 1, int(graph.n_edge[0]))  # its masks expect a second graph
        evaluate = equinox.filter_jit(model)

    def step():
        with jax.enable_x64(False):
            jax.block_until_ready(evaluate(graph))

    return step


PEERS = {
    "jax-md float64": partial(jax_md_loop, dtype="float64"),
    "jax-md float32": partial(jax_md_loop, dtype="float32"),
    "nequip float32": nequip_forces,
    "nequix float32": nequix_forces,
}
