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
        radial_net_n_hidden=16, n_neighbors=50.0, scale=0.01, shift=0.0,
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


PEERS = {
    "jax-md float64": partial(jax_md_loop, dtype="float64"),
    "jax-md float32": partial(jax_md_loop, dtype="float32"),
}
