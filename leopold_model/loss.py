"""The loss: energy, forces, virial, occupations and moments, every term per atom and a mean over frames.

With residuals D: energy (DE/N)^2; forces |DF|^2/3; stress |DW|^2/9 of the virial per atom; occupations D^2 of n_up,
n_down and of their sum; moments D^2 of n_up - n_down; total moment (sum D(n_up - n_down)/N)^2. These are the terms of
LEOPOLD's loss divided by N^2. Units eV, eV/Angstrom, e, mu_B.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from leopold_model.config import LossWeights
from leopold_model.dataset import Bucket
from leopold_model.network import AnySpec, Outputs, by_network, evaluate


def predict(params, spec: AnySpec, batch: Bucket, share=None) -> Outputs:
    """Outputs of B frames at once: one flat graph of B n atoms, reshaped back.

    `energy` (B,), `forces` (B, n, 3), `occupations` (B, n, 2), `virial` (B, 3, 3), `member_energies` (K, B),
    `member_occupations` (K, B, n, 2). `share` as in `network.evaluate`.
    """
    B, n = batch.species.shape
    offset = (jnp.arange(B, dtype=jnp.int32) * n)[:, None]
    out = evaluate(
        params,
        spec,
        batch.vectors.reshape(-1, 3),
        (batch.senders + offset).reshape(-1),
        (batch.receivers + offset).reshape(-1),
        batch.edge_mask.reshape(-1),
        batch.species.reshape(-1),
        batch.charge.reshape(-1),
        share,
    )
    energies = (out.member_energies.reshape(-1, B, n) * batch.atom_mask).sum(axis=2)
    return replace(
        out,
        energy=energies.mean(axis=0),
        forces=out.forces.reshape(B, n, 3),
        occupations=out.occupations.reshape(B, n, 2),
        member_energies=energies,
        member_occupations=out.member_occupations.reshape(-1, B, n, 2),
        virial=jnp.einsum("bpi,bpj->bij", out.pair_gradient.reshape(B, -1, 3), batch.vectors),
    )


def loss(params, spec: AnySpec, weights: LossWeights, batch: Bucket, step=0) -> tuple[jax.Array, dict]:
    """Weighted mean over the frames of `batch`, and its terms; frames of weight 0 are padding.

    Networks of a committee learn as if each were alone: the loss is the sum of theirs, the terms are means.
    Every readout head learns energies and occupations at every step, and they take turns at the forces: a gradient
    of each head at each step would cost as many backward passes, and heads that only have their mean trained may
    disagree at will, so that their spread would say nothing.
    """
    if spec.committee > 1:
        values, each = by_network(lambda own, alone: loss(own, alone, weights, batch, step), params, spec)
        return values.sum(), jax.tree.map(jnp.mean, each)
    out = predict(params, spec, batch, jax.nn.one_hot(step % spec.ensemble, spec.ensemble, dtype=batch.energy.dtype))
    N, atom = batch.n_atoms, batch.atom_mask

    def per_atom(squares, components):  # mean over real atoms and components, (B,)
        return (squares.reshape(*atom.shape, -1).sum(axis=2) * atom).sum(axis=1) / (components * N)

    def of_occupations(residual):  # of one head, (B, n, 2)
        m = (residual[..., 0] - residual[..., 1]) * atom
        return {
            "occupations": per_atom(residual**2, 2) + per_atom(residual.sum(axis=2) ** 2, 1),
            "moments": per_atom(m**2, 1),
            "total_moment": (m.sum(axis=1) / N) ** 2,
        }

    virial = (((out.virial - batch.virial) / N[:, None, None]) ** 2).sum(axis=(1, 2)) / 9
    terms = {
        "energy": batch.surface * (((out.member_energies - batch.energy) / N) ** 2).mean(axis=0),
        "forces": batch.surface * per_atom((out.forces - batch.forces) ** 2, 3),
        "stress": batch.surface * batch.has_virial * virial,
        **jax.tree.map(
            lambda term: term.mean(axis=0), jax.vmap(of_occupations)(out.member_occupations - batch.occupations)
        ),
    }
    share = batch.weight / jnp.maximum(batch.weight.sum(), 1e-12)
    means = {name: (share * value).sum() for name, value in terms.items() if getattr(weights, name) > 0}
    return sum(getattr(weights, name) * value for name, value in means.items()), means
