"""Other codes doing one step of training, for `train.py`: each function takes the frames of a batch, returns a call.

Networks are those of `peers.py`. Every step is forward, backward through the forces, Adam at a small rate; the loss is
E^2 + N^2 F^2 as published, on zero labels: the cost does not depend on them. Lists are made beforehand; none learns
occupations. nequip runs eager, as it trains by default, and compiled by PyTorch.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from peers import jax_md_network, nequip_network, nequix_network

RATE = 1e-6


def jax_md_training(frames, dtype: str):
    """As the published code trains: one compiled step, the frames of a batch vmapped."""
    import optax

    double = partial(jax.enable_x64, dtype == "float64")
    with double():
        _, lists, network, params, columns = jax_md_network(frames[0], dtype)
        positions = jnp.stack([jnp.asarray(atoms.get_scaled_positions()) for atoms in frames])
        found = [lists.allocate(x) for x in positions]
        size = max(one.idx.shape[1] for one in found)
        # rows beyond a frame's pairs point behind the last atom, which is how jax-md pads
        rows = [
            jnp.pad(one.idx, ((0, 0), (0, size - one.idx.shape[1])), constant_values=len(frames[0])) for one in found
        ]
        pairs = jnp.stack(rows)
        optimiser = optax.adam(RATE)
        state = params, optimiser.init(params)

        def loss(params):
            def of_frame(x, idx):
                energy, slope = jax.value_and_grad(network, 1)(params, x, found[0].set(idx=idx), atoms=columns)
                return energy**2 + len(x) * jnp.sum(slope**2) / 3

            return jax.vmap(of_frame)(positions, pairs).mean()

        @jax.jit
        def update(state):
            params, memory = state
            value, gradient = jax.value_and_grad(loss)(params)
            change, memory = optimiser.update(gradient, memory)
            return (optax.apply_updates(params, change), memory), value

    def step():
        nonlocal state
        with double():
            state, value = update(state)
            if not jnp.isfinite(value):
                raise FloatingPointError("the loss is not a number")

    return step


def nequip_training(frames, compiled: bool = False):
    import torch
    from nequip.data import AtomicDataDict

    networks = [nequip_network(atoms, "compile" if compiled else "eager") for atoms in frames]
    model = networks[0][0].train()
    data = AtomicDataDict.batched_from_list([one for _, one in networks])
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)

    def step():
        optimiser.zero_grad()
        out = model(dict(data))
        n = len(frames[0])
        loss = (out["total_energy"] ** 2).mean() + n**2 * (out["forces"] ** 2).mean()
        loss.backward()
        optimiser.step()
        if not torch.isfinite(loss):
            raise FloatingPointError("the loss is not a number")

    return step


def nequix_training(frames):
    import equinox
    import jraph
    import optax

    with jax.enable_x64(False):
        networks = [nequix_network(atoms) for atoms in frames]
        model = networks[0][0]
        graph = jraph.batch([one for _, one in networks])
        atoms, pairs = sum(map(len, frames)), int(graph.n_edge.sum())
        graph = jraph.pad_with_graphs(graph, atoms + 1, pairs, len(frames) + 1)
        optimiser = optax.adam(RATE)
        memory = optimiser.init(equinox.filter(model, equinox.is_array))

        @equinox.filter_jit
        def update(model, memory, graph):
            def loss(model):
                energy, forces, _ = model(graph)
                n = len(frames[0])
                return jnp.mean(energy[: len(frames)] ** 2) + n**2 * jnp.mean(forces[:atoms] ** 2)

            value, gradient = equinox.filter_value_and_grad(loss)(model)
            change, memory = optimiser.update(gradient, memory)
            return equinox.apply_updates(model, change), memory, value

    def step():
        nonlocal model, memory
        with jax.enable_x64(False):
            model, memory, value = update(model, memory, graph)
            if not jnp.isfinite(value):
                raise FloatingPointError("the loss is not a number")

    return step


PEERS = {
    "jax-md float64": partial(jax_md_training, dtype="float64"),
    "jax-md float32": partial(jax_md_training, dtype="float32"),
    "nequip float32": nequip_training,
    "nequip compiled float32": partial(nequip_training, compiled=True),
    "nequix float32": nequix_training,
}
