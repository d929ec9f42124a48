"""Production: how long to run for a number of hops, and everything that is said of the transport in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.around_defects import around_defects
from leopold_model.analysis.arrhenius import fit
from leopold_model.analysis.carrier_pairs import carrier_pairs
from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.layers import across_layers
from leopold_model.analysis.msd import Estimate
from leopold_model.analysis.rates import Rate
from leopold_model.analysis.slabs import slab_of
from leopold_model.analysis.transport import transport


def transport_summary(
    catalogue: Catalogue,
    *,
    seed: int = 0,
    n_samples: int = 1000,
    rows: Sequence[int] | None = None,
    planes: Sequence[int] | None = None,
) -> dict:
    """JSON-ready rates, diffusion and mobility at every temperature, and the activation energy.

    `hops_counted_with`: the settings of `hops.find_hops`.
    `temperatures`: one entry each, ascending, as `Transport.to_dict` makes it (rates in 1/ps, diffusion in cm^2/s,
    mobility in cm^2/(V s)). `arrhenius`: of the isotropic diffusion coefficient from the rates, `arrhenius_mobility`
    of the mobility, whose slope differs by about k_B T, `arrhenius_rates` of each class seen at two temperatures; each
    as `Arrhenius.to_dict` makes it and says what was fitted. Null with the reason in `arrhenius_missing`. `seed` is
    that of the `n_samples` samples behind every interval. `around_defects`: how carriers arrange themselves around the
    defects of the cells, if there are any, one entry per temperature (see there); `rows` along [uvw] and `planes` (hkl)
    are in conventional axes. `carrier_pairs`: of several carriers and each other, likewise. `layers`: of a slab,
    time and hops layer by layer (see `layers.across_layers`). AnalysisError where the catalogue holds no carrier time.
    """
    results = [transport(catalogue, t, seed=seed, n_samples=n_samples) for t in catalogue.temperatures]
    around = [around_defects(catalogue, t, rows=rows, planes=planes) for t in catalogue.temperatures]
    pairs = [carrier_pairs(catalogue, t) for t in catalogue.temperatures]
    slab = slab_of(catalogue.host)
    layers = [] if slab is None else [across_layers(catalogue, t, slab) for t in catalogue.temperatures]
    found = {
        "carrier": catalogue.carrier,
        "summary": catalogue.summary,
        "hops_counted_with": {
            "tau_min_fs": catalogue.tau_min,
            "core": catalogue.core,
            "return_time_fs": catalogue.return_time,
        },
        "temperatures": [row.to_dict() for row in results],
        "around_defects": [found for found in around if found is not None],
        "layers": layers,
        "carrier_pairs": [found for found in pairs if found is not None],
    }
    temperatures = catalogue.temperatures
    try:
        line = fit(temperatures, [row.mean(row.diffusion) for row in results], "D").to_dict()
        of_mobility = fit(temperatures, [row.mean(row.mobility) for row in results], "mu").to_dict()
    except AnalysisError as error:
        return found | dict.fromkeys(("arrhenius", "arrhenius_mobility"), None) | {
            "arrhenius_rates": {}, "arrhenius_missing": str(error),
        }  # fmt: skip
    rng = np.random.default_rng(seed)
    of_rates = {}
    for name in catalogue.seen:
        rates = [row.rates[name] for row in results]
        if sum(rate.count > 0 for rate in rates) > 1:
            of_rates[name] = fit(temperatures, [_estimate(rate, rng, n_samples) for rate in rates], "rate").to_dict()
    return found | {
        "arrhenius": line,
        "arrhenius_mobility": of_mobility,
        "arrhenius_rates": of_rates,
        "arrhenius_missing": "",
    }


def _estimate(rate: Rate, rng: np.random.Generator, n_samples: int) -> Estimate:
    """A rate in 1/fs with samples of the gamma distribution it has given its count."""
    return Estimate(np.asarray(rate.rate), rng.gamma(rate.count + 0.5, 1 / rate.time, size=n_samples))


def steps_for_hops(
    counts: Sequence[int], done: Sequence[int], *, wanted: int, instalment: int, most: int
) -> tuple[int, ...]:
    """Steps per replica each temperature should have in all, so that it shows `wanted` hops.

    `counts` are its hops after `done` steps. What the hops so far promise, and a tenth more for their scatter, in whole
    instalments; at most four times what was done, for few hops promise little; twice as much where there was none. A
    temperature with enough hops, or with no room for an instalment below `most` steps, keeps what it has.
    """

    def target(n: int, steps: int) -> int:
        if n >= wanted:
            return steps
        factor = min(1.1 * wanted / n, 4.0) if n else 2.0
        return steps + instalment * min(ceil((factor - 1) * steps / instalment), max(most - steps, 0) // instalment)

    return tuple(target(n, steps) for n, steps in zip(counts, done, strict=True))
