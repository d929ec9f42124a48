"""Carriers in a slab layer by layer: where they are, for how long, and whether they hop within a layer or between two.

Layers are those of carrier sites: S0 the uppermost, S1 the one below it (see `slabs.Slab`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.around_defects import Groups, time_share
from leopold_model.analysis.catalogue import Catalogue, ReplicaHops
from leopold_model.analysis.populations import leaving_rates
from leopold_model.analysis.rates import garwood
from leopold_model.analysis.slabs import Slab


def across_layers(catalogue: Catalogue, temperature: float, slab: Slab) -> dict:
    """JSON-ready. `layers`: carrier time by layer with its error over replicas and random placement (see `Groups`) and
    the mean time in it at a stretch (ps); `hops`: those within each layer and between every two, per ps of carrier time
    with 95 % intervals. Hops that lead through several sites are counted by where they begin and end."""
    replicas = [r for r in catalogue.replicas if r.temperature == temperature]
    found = [(r, _layers(r, slab)) for r in replicas]
    allowed = [layers[layers >= 0] for _, layers in found]
    every = np.arange(max(slab.layer.values()) + 1)
    members = np.array([[np.sum(own == k) for k in every] for own in allowed], dtype=float)
    share = np.array([[time_share(r, len(layers))[layers == k].sum() for k in every] for r, layers in found])
    groups = Groups(every, members.mean(axis=0), share, (members / members.sum(axis=1, keepdims=True)).mean(axis=0))
    time = catalogue.carrier_time(temperature)
    hops = Counter(tuple(sorted((int(layers[h.i]), int(layers[h.j])))) for r, layers in found for h in r.table.hops)
    pairs = [(a, b) for a in every.tolist() for b in every.tolist()[a:]]
    rates = {_between(*pair): garwood(hops[pair], time).to_dict() for pair in pairs}
    return {
        "temperature_K": temperature,
        "layers": {
            "layer": [f"S{k}" for k in every],
            **groups.to_dict(),
            "residence_ps": _residence([(r.table, layers) for r, layers in found], every),
        },
        "hops": rates,
    }


def _between(a: int, b: int) -> str:
    return f"S{a}" if a == b else f"S{a}-S{b}"


def _residence(tables: Sequence[tuple], every: np.ndarray) -> list[float | None]:
    """Mean time (ps) in each layer; None where it was never left or never visited."""
    exits: Counter = Counter()
    spent: defaultdict = defaultdict(float)
    for table, layers in tables:
        for layer, rate in leaving_rates([table], layers.tolist()).items():
            exits[layer] += rate.count
            spent[layer] += rate.time
    return [float(spent[k] / exits[k] / 1e3) if exits[k] else None for k in every.tolist()]


def _layers(replica: ReplicaHops, slab: Slab) -> np.ndarray:
    """Layer (n,) of every atom, -1 where no carrier can be."""
    if replica.sites is None:
        raise AnalysisError("the catalogue does not say which site each atom is: find the hops of the track again")
    found = np.array([slab.layer.get(int(s), -1) for s in replica.sites.sublattice])
    found[list(replica.sites.substitutions)] = -1
    return found
