"""Production: how long to run for a number of hops, and everything that is said of the transport in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.arrhenius import fit
from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.transport import transport


def transport_summary(catalogue: Catalogue, *, seed: int = 0, n_samples: int = 1000) -> dict:
    """JSON-ready rates, diffusion and mobility at every temperature, and the activation energy.

    `temperatures`: one entry each, ascending, as `Transport.to_dict` makes it (rates in 1/ps, diffusion in cm^2/s,
    mobility in cm^2/(V s)). `arrhenius`: of the isotropic diffusion coefficient from the rates, or null with the
    reason in `arrhenius_missing`. `seed` is that of the `n_samples` samples behind every interval. AnalysisError
    where the catalogue holds no carrier time.
    """
    rows = [transport(catalogue, t, seed=seed, n_samples=n_samples) for t in catalogue.temperatures]
    found = {
        "carrier": catalogue.carrier,
        "summary": catalogue.summary,
        "temperatures": [row.to_dict() for row in rows],
    }
    try:
        line = fit(catalogue.temperatures, [row.diffusion.isotropic for row in rows], "D")
    except AnalysisError as error:
        return found | {"arrhenius": None, "arrhenius_missing": str(error)}
    return found | {"arrhenius": line.to_dict(), "arrhenius_missing": ""}


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
