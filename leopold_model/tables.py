"""pandas tables of frames, hops, rates and mobilities, for notebooks: one row per thing, units in the names of columns
that are not eV, Angstrom, fs, K or mu_B.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from leopold_model.analysis.catalogue import Catalogue
from leopold_model.frames import Frame


def frames(frames: Iterable[Frame]) -> pd.DataFrame:
    """One row per frame: where it is from, its carrier, what was labelled.

    `site` is the first carrier site, `moment` its moment in mu_B, `max_force` the largest force on an atom in
    eV/Angstrom; nan where a frame does not have them.
    """
    names = ("run", "step", "source", "label", "pathway", "temperature", "energy", "carrier", "carrier_sites")
    rows = []
    for frame in frames:
        moments, sites = frame.spin_moments, frame.carrier_sites
        rows.append(
            {
                "id": frame.id,
                **{name: getattr(frame, name) for name in names},
                "requested_sites": frame.requested_sites,
                "site": sites[0] if sites else -1,
                "moment": moments[sites[0]] if sites and moments is not None else np.nan,
                "max_force": np.nan if frame.forces is None else np.linalg.norm(frame.forces, axis=1).max(),
                "n_atoms": len(frame),
                "converged": frame.converged,
                "settings": frame.settings,
            }
        )
    return pd.DataFrame(rows)


def hops(catalogue: Catalogue) -> pd.DataFrame:
    """One row per committed hop of a catalogue (see `analysis.hops.Hop`), its displacement as `x`, `y`, `z`."""
    told = (
        "time", "carrier", "i", "j", "pathway", "dwell", "duration", "max_sharing", "adiabatic", "back", "flickers",
    )  # fmt: skip
    return pd.DataFrame(
        [
            {
                "run": replica.run,
                "replica": replica.replica,
                "temperature": replica.temperature,
                **{name: getattr(hop, name) for name in told},
                **dict(zip("xyz", hop.vector, strict=True)),
            }
            for replica in catalogue.replicas
            for hop in replica.table.hops
        ]
    )


def rates(transport: Mapping) -> pd.DataFrame:
    """Rate of every class at every temperature, 1/ps, with its 95 % interval; `transport` as `leopold transport --json`
    prints it, or the output of that name."""
    return pd.DataFrame(
        [
            {
                "temperature": row["temperature_K"],
                "pathway": name,
                "hops": rate["count"],
                "rate_per_ps": rate["rate_per_ps"],
                "low": rate["interval_per_ps"][0],
                "high": rate["interval_per_ps"][1],
            }
            for row in transport["temperatures"]
            for name, rate in row["rates"].items()
        ]
    )


def mobility(transport: Mapping) -> pd.DataFrame:
    """Isotropic mobility, cm^2/(V s), and diffusion coefficient, cm^2/s, at every temperature with 95 % intervals."""
    quantities = {"mobility": "mobility_isotropic_cm2_per_Vs", "diffusion": "diffusion_isotropic_cm2_per_s"}
    return pd.DataFrame(
        [
            {"temperature": row["temperature_K"], "hops": row["n_hops"]}
            | {
                name if part == "value" else f"{name}_{part}": row[key][part]
                for name, key in quantities.items()
                for part in ("value", "low", "high")
            }
            for row in transport["temperatures"]
        ]
    )
