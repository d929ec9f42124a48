"""pandas tables of frames, hops, rates and mobilities, for notebooks: one row per thing, no rows where there is none.
Units are eV, Angstrom, fs, K and mu_B where the name of a column does not say another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from leopold_model.analysis.catalogue import Catalogue
from leopold_model.frames import Frame

OF_FRAME = (
    "id", "run", "step", "source", "label", "pathway", "temperature", "energy", "carrier", "carrier_sites",
    "requested_sites", "converged", "settings",
)  # fmt: skip
OF_REPLICA = ("run", "replica", "temperature")
OF_HOP = (
    "time", "carrier", "i", "j", "pathway", "dwell", "duration", "max_sharing", "adiabatic", "back", "flickers",
)  # fmt: skip


def frames(frames: Iterable[Frame]) -> pd.DataFrame:
    """One row per frame: where it is from, its carrier, what was labelled.

    `site` is the first carrier site (-1 without any), `moment` its moment, `max_force` the largest force on an atom,
    eV/Angstrom; nan where a frame does not have them.
    """
    rows = []
    for frame in frames:
        moments, site = frame.spin_moments, next(iter(frame.carrier_sites), -1)
        moment = np.nan if site < 0 or moments is None else moments[site]
        force = np.nan if frame.forces is None else np.linalg.norm(frame.forces, axis=1).max()
        rows.append([*(getattr(frame, name) for name in OF_FRAME), len(frame), site, moment, force])
    return pd.DataFrame(rows, columns=[*OF_FRAME, "n_atoms", "site", "moment", "max_force"])


def hops(catalogue: Catalogue) -> pd.DataFrame:
    """One row per committed hop of a catalogue (see `analysis.hops.Hop`), its displacement as `x`, `y`, `z`."""
    rows = [
        [*(getattr(r, name) for name in OF_REPLICA), *(getattr(hop, name) for name in OF_HOP), *hop.vector]
        for r in catalogue.replicas
        for hop in r.table.hops
    ]
    return pd.DataFrame(rows, columns=[*OF_REPLICA, *OF_HOP, "x", "y", "z"])


def rates(transport: Mapping) -> pd.DataFrame:
    """Rate of every class at every temperature with its 95 % interval, 1/ps; `transport` as `leopold transport --json`
    prints it, or the output of that name."""
    rows = [
        [row["temperature_K"], name, rate["count"], rate["rate_per_ps"], *rate["interval_per_ps"]]
        for row in transport["temperatures"]
        for name, rate in row["rates"].items()
    ]
    return pd.DataFrame(rows, columns=["temperature", "pathway", "hops", "rate_per_ps", "low_per_ps", "high_per_ps"])


def mobility(transport: Mapping) -> pd.DataFrame:
    """Isotropic mobility, cm^2/(V s), and diffusion coefficient, cm^2/s, at every temperature with 95 % intervals."""
    quantities = {"mobility": "mobility_isotropic_cm2_per_Vs", "diffusion": "diffusion_isotropic_cm2_per_s"}
    parts = {"": "value", "_low": "low", "_high": "high"}
    rows = [
        [
            row["temperature_K"],
            row["n_hops"],
            *(row[key][part] for key in quantities.values() for part in parts.values()),
        ]
        for row in transport["temperatures"]
    ]
    columns = [name + suffix for name in quantities for suffix in parts]
    return pd.DataFrame(rows, columns=["temperature", "hops", *columns])
