"""Sums over neighbours, a chunk of pairs at a time: what both networks spend their time on.

The messages of a large cell fit no cache and, kept for the gradient, take gigabytes. So many pairs are done in chunks
whose messages are made anew in the backward pass (`jax.checkpoint`), which takes less time than fetching them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

IN_BOUNDS = "promise_in_bounds"  # lists come from `graph` and never point outside; the check costs a tenth
WHOLE = {"cpu": 2**14, "gpu": 2**20}  # pairs up to here are one chunk: nothing is made twice
CHUNK = {"cpu": 2**11, "gpu": 2**18}  # a GPU has no such cache, only memory to be saved
MOST_CHUNKS = 64  # each costs a pass over the atoms


def neighbour_sum(messages: Callable, basis, unit, senders, receivers, n: int):
    """Row i of (n, D): what atom i is sent by its neighbours.

    `messages(basis, unit, source, target)` of any P pairs gives two arrays (P, D), what each source sends its target
    and what the target sends the source; zero where `basis` is zero. `basis` (P, k), `unit` (P, 3), the others (P,).
    """
    pairs = basis, unit, senders, receivers

    def add(total, pairs):
        *_, senders, receivers = pairs
        forth, back = messages(*pairs)
        return total.at[receivers].add(forth, mode=IN_BOUNDS).at[senders].add(back, mode=IN_BOUNDS), None

    P = len(senders)
    width = jax.eval_shape(messages, *pairs)[0].shape[1]
    total = jnp.zeros((n, width), basis.dtype)
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    if WHOLE[kind] >= P:
        return add(total, pairs)[0]
    chunks = min(MOST_CHUNKS, -(-P // CHUNK[kind]))
    size = -(-P // chunks)

    def cut(x):
        x = jnp.pad(x, [(0, chunks * size - P)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunks, size, *x.shape[1:])

    return jax.lax.scan(jax.checkpoint(add), total, tuple(map(cut, pairs)))[0]


def columns_of(x, *widths: int) -> list:
    """The last axis cut into pieces; unlike that of slices, the gradient of a split is no sum of padded pieces."""
    return jnp.split(x, np.cumsum(widths)[:-1].tolist(), axis=-1)
