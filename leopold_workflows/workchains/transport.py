"""`TransportWorkChain` (`leopold.transport`): from a model to rates, diffusion and mobility."""

from __future__ import annotations

from aiida import orm

from leopold_workflows.calculations.functions_transport import transport_of
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.protocols import material as load_material
from leopold_workflows.protocols import protocol as load_protocol
from leopold_workflows.settings import TransportSettings, checked_by
from leopold_workflows.workchains.explore import ExploreWorkChain, explore_inputs


class TransportWorkChain(ExploreWorkChain):
    """Production dynamics at several temperatures, and what follows from its hops.

    The dynamics are those of ExploreWorkChain, only longer. Then rates per pathway with exact Poisson
    intervals, diffusion and mobility tensors with bootstrap intervals over the replicas, their correlation
    factor, and an Arrhenius fit from three temperatures on. With fewer than `min_hops` hops at some
    temperature the result is attached and the exit code is 602.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=checked_by(TransportSettings, "settings"),
            help="See TransportSettings.",
        )
        spec.input(
            "known",
            valid_type=PathwaySetData,
            required=False,
            help="Catalogue of learning: classes seen here without a verified label in it are named in the result.",
        )
        spec.outline(
            cls.run_dynamics,
            cls.inspect_dynamics,
            cls.find_hops,
            cls.find_transport,
        )
        spec.output(
            "transport",
            valid_type=orm.Dict,
            required=False,
            help="Per temperature rates, diffusion, mobility with intervals; Arrhenius parameters.",
        )
        spec.exit_code(313, "ERROR_TRANSPORT_UNREADABLE", message="no transport coefficients: {why}")
        spec.exit_code(602, "ERROR_TOO_FEW_HOPS", message="{counts}: fewer than {least} hops; run longer")

    @classmethod
    def get_builder_from_protocol(cls, code, model, frames, host, *, material, protocol=None, overrides=None):
        """A builder for production with `model`; `overrides` as in the protocol `transport`."""
        builder = cls.get_builder()
        settings = load_protocol("transport", protocol, overrides)
        for name, value in transport_inputs(settings, load_material(material), code).items():
            builder[name] = value
        builder.model, builder.frames, builder.host = model, frames, host
        return builder

    def find_transport(self):
        """Rates, diffusion, mobility."""
        known = {"known": self.inputs.known} if "known" in self.inputs else {}
        transport, node = transport_of.run_get_node(
            self.outputs["catalogue"], self.inputs.settings, self.inputs.seed, **known
        )
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_TRANSPORT_UNREADABLE.format(why=node.exit_message)
        self.out("transport", transport)
        if transport["unverified_pathways"]:
            self.report(f"seen in production without a verified label: {', '.join(transport['unverified_pathways'])}")
        least = self.inputs.settings["min_hops"]
        counts = {row["temperature_K"]: row["n_hops"] for row in transport["temperatures"]}
        if min(counts.values()) < least:
            text = ", ".join(f"{n} hops at {t:g} K" for t, n in counts.items())
            return self.exit_codes.ERROR_TOO_FEW_HOPS.format(counts=text, least=least)
        return None


def transport_inputs(settings: dict, recipe: dict, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on model or frames, from its protocol's `settings` and a
    material."""
    return {
        **explore_inputs(settings, recipe, code),
        "settings": orm.Dict({key: settings[key] for key in TransportSettings.model_fields}),
        "seed": orm.Int(settings["seed"]),
        "run": orm.Str("production"),
    }
