"""Kinetic Monte Carlo on a host lattice: catalogues whose diffusion tensor is known."""

import numpy as np

from leopold_model.analysis.catalogue import Catalogue, ReplicaHops, merge
from leopold_model.analysis.hops import Hop, HopTable
from leopold_model.analysis.pathways import enumerate_pathways


def walk(classes, rates, duration, rng, reverse=0.0):
    """Hops of one carrier. `rates` {class name: total rate per site, 1/fs}, the same from either end; with
    probability `reverse` a hop undoes the one before instead of being drawn."""
    options = {}
    for s in classes.site_kinds:
        members = [
            (key, vector, p, rates[p.name] / sum(k[0] == s for k in p.members))
            for p in classes
            if p.name in rates
            for key, vector in zip(p.members, p.vectors, strict=True)
            if key[0] == s
        ]
        weights = np.array([m[3] for m in members])
        options[s] = (members, weights.sum(), np.cumsum(weights) / weights.sum())
    hops, time, before, previous = [], 0.0, 0.0, None
    site = int(rng.choice(sorted(classes.site_kinds)))
    while True:
        members, total, cumulative = options[site]
        time += rng.exponential(1 / total)
        if time > duration:
            return hops, time
        if previous is not None and rng.random() < reverse:
            (a, b, *r), vector, p = previous
            key, vector = (b, a, *(-x for x in r)), -np.asarray(vector)
        else:
            key, vector, p, _ = members[int(np.searchsorted(cumulative, rng.random()))]
        hops.append(
            Hop(
                time=time,
                i=0,
                j=0,
                carrier=0,
                dwell=time - before,
                duration=5.0,
                max_sharing=1.0,
                adiabatic=True,
                flickers=0,
                pathway=p.name,
                legs=(key,),
                vector=tuple(vector),
            )
        )
        before, previous, site = time, (key, vector, p), key[1]


def thermal(host, cutoff, prefactors, energy, temperatures, *, n_hops, seed=0, **kwargs):
    """Walks at several temperatures whose rates are prefactor exp(-energy / k_B T), `n_hops` expected at each."""
    parts = []
    for k, t in enumerate(temperatures):
        rates = {name: value * np.exp(-energy / (8.617333262e-5 * t)) for name, value in prefactors.items()}
        replicas = kwargs.get("replicas", 4)
        duration = n_hops / sum(rates.values()) / replicas
        parts.append(
            catalogue(
                host, cutoff, rates, duration=duration, replicas=replicas, temperature=t, seed=100 * seed + k
            )
        )  # fmt: skip
    return merge(parts)


def catalogue(host, cutoff, rates, *, duration, replicas=8, temperature=600.0, seed=0, reverse=0.0):
    rng = np.random.default_rng(seed)
    classes = enumerate_pathways(host, cutoff)
    return Catalogue(
        host=host,
        carrier="electron",
        cutoff=cutoff,
        tau_min=50.0,
        core=0.7,
        return_time=200.0,
        replicas=tuple(
            ReplicaHops(
                run="walk",
                replica=n,
                temperature=temperature,
                seed=seed,
                n_carriers=1,
                matrix=4 * np.eye(3, dtype=int),
                lattice=host.lattice,
                n_sites=64,
                table=HopTable(
                    hops=tuple(walk(classes, rates, duration, rng, reverse)[0]),
                    duration=duration,
                    first_sites=(0,),
                    last_sites=(0,),
                    n_changes=0,
                    n_excursions=0,
                    tau_min=50.0,
                    core=0.7,
                    return_time=200.0,
                ),
            )
            for n in range(replicas)
        ),
    )
