"""Other codes doing the work of one step, for `md.py`: each function takes the atoms and returns a call that does it.

A name begins with the package to install. All networks are NequIP's, of the size of the published LEOPOLD models: 42
scalars and 8 vectors, edges up to l = 1, 3 layers, cutoff 5 Angstrom; random parameters. Peers are flattered where
they cannot be equal: none predicts occupations, none records, and only the jax-md loop finds its neighbours and moves.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

SCALARS, VECTORS, LAYERS, CUTOFF = 42, 8, 3, 5.0
RADIAL, NEIGHBOURS = 16, 50.0  # width of two hidden radial layers; what sums over neighbours are divided by
TEMPERATURE = 10.0  # K


def jax_md_loop(atoms, dtype: str):
    """The loop of the published LEOPOLD code: one compiled step with a new list over all N^2 pairs, driven from Python.

    There the site with the largest moment gets the carrier; a component of the forces stands in for the moments here.
    """
    from jax_md import energy, quantity, simulate, space
    from jax_md.nn import nequip

    config = nequip.default_config()
    config.update(
        graph_net_steps=LAYERS, hidden_irreps=f"{SCALARS}x0e + {VECTORS}x1e", sh_irreps="1x0e + 1x1e", r_max=CUTOFF,
        radial_net_n_hidden=RADIAL, n_neighbors=NEIGHBOURS, scale=0.01, shift=0.0,
    )  # fmt: skip
    elements, species = np.unique(atoms.numbers, return_inverse=True)
    config.n_elements = len(elements) + 1  # the charge state is one more column
    double = partial(jax.enable_x64, dtype == "float64")

    with double():
        columns = jax.nn.one_hot(species, config.n_elements).at[0, -1].set(1)
        positions = jnp.asarray(atoms.get_scaled_positions())
        cell = jnp.asarray(atoms.cell.array.T)
        displacement, shift = space.periodic_general(cell)
        lists, init_params, network = energy.nequip_neighbor_list(
            displacement, cell, config, fractional_coordinates=True, disable_cell_list=True
        )
        neighbours = lists.allocate(positions)
        params = init_params(jax.random.PRNGKey(0), positions, neighbours, atoms=columns)
        params = jax.tree.map(lambda x: x.astype(dtype), params)

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


def nequip_forces(atoms):
    """Energy, forces and stress by nequip in PyTorch, eager, with a given list."""
    import torch
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    torch.set_num_threads(1)
    set_global_state()
    elements, species = np.unique(atoms.get_chemical_symbols(), return_inverse=True)
    model = NequIPGNNModel(
        seed=0, model_dtype="float32", type_names=elements.tolist(), r_max=CUTOFF, num_layers=LAYERS, l_max=1,
        parity=False, num_features=[SCALARS, VECTORS], radial_mlp_depth=2, radial_mlp_width=RADIAL,
        avg_num_neighbors=NEIGHBOURS,
    ).eval()  # fmt: skip
    data = compute_neighborlist_(from_ase(atoms), CUTOFF)
    data[AtomicDataDict.ATOM_TYPE_KEY] = torch.as_tensor(species)

    return lambda: model(dict(data))[AtomicDataDict.FORCE_KEY].numpy()


def nequix_forces(atoms):
    """Energy, forces and stress by nequix in JAX, compiled, with a given list without padding."""
    import equinox
    import jraph
    from nequix.data import atomic_numbers_to_indices, dict_to_graphstuple, preprocess_graph
    from nequix.model import Nequix

    indices = atomic_numbers_to_indices(sorted(set(atoms.numbers)))
    graph = dict_to_graphstuple(preprocess_graph(atoms, indices, CUTOFF, targets=False))
    with jax.enable_x64(False):
        graph = jraph.pad_with_graphs(graph, len(atoms) + 1, int(graph.n_edge[0]))  # its masks expect a second graph
        model = Nequix(
            jax.random.PRNGKey(0), len(indices), lmax=1, cutoff=CUTOFF, hidden_irreps=f"{SCALARS}x0e + {VECTORS}x1o",
            n_layers=LAYERS, radial_mlp_size=RADIAL, radial_mlp_layers=2, avg_n_neighbors=NEIGHBOURS,
        )  # fmt: skip
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
