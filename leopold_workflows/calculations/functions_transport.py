"""Calcfunctions of production: how far it has to go on, and from its hops to transport coefficients."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.production import steps_for_hops, transport_summary
from leopold_model.config import MDConfig, parse
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.parsers.result import without_nan
from leopold_workflows.settings import TransportSettings


@calcfunction
def prolonged(parameters: orm.Dict, catalogue: PathwaySetData, settings: orm.Dict) -> orm.Dict:
    """Parameters of dynamics with the `more_steps` each temperature needs for its hops; the same ones where none
    does, or none may."""
    limits = parse(settings.get_dict(), TransportSettings)
    config = parse(parameters.get_dict(), MDConfig)
    found = Catalogue.from_dict(catalogue.catalogue["hops"])
    more = config.more_steps or (0,) * len(config.temperatures)
    wanted = steps_for_hops(
        [found.hops_at(t) for t in config.temperatures],
        [config.steps + extra for extra in more],
        wanted=limits.min_hops,
        instalment=config.steps,
        most=limits.max_steps,
    )
    longer = [steps - config.steps for steps in wanted]
    return orm.Dict(parameters.get_dict() | ({"more_steps": longer} if longer != list(more) else {}))


@calcfunction
def transport_of(
    catalogue: PathwaySetData, settings: orm.Dict, seed: orm.Int, known: PathwaySetData | None = None
) -> orm.Dict:
    """Rates, diffusion and mobility at every temperature, and the activation energy; `seed` is that of the
    samples behind every interval.

    The keys of `transport_summary`, and `unverified_pathways`: classes seen here that have no verified label in
    the catalogue `known` of learning; null without one.
    """
    limits = parse(settings.get_dict(), TransportSettings)
    found = Catalogue.from_dict(catalogue.catalogue["hops"])
    try:
        result = transport_summary(
            found, seed=seed.value, n_samples=limits.n_bootstrap, rows=limits.rows, planes=limits.planes
        )
    except AnalysisError as error:
        return ExitCode(313, str(error))
    unverified = None
    if known is not None:
        verified = {p["name"] for p in known.pathways if p["verified_labels"]}
        unverified = [name for name in found.seen if name not in verified]
    return orm.Dict(without_nan(result | {"unverified_pathways": unverified}))
