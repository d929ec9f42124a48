"""Everything that is said of the transport in a catalogue of hops: per temperature, and across temperatures."""

from __future__ import annotations

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
