"""Schemas of the settings the learning WorkChains take as one `Dict`: unknown keys are refused, the nearest
name is given."""

from __future__ import annotations

from collections.abc import Callable

from aiida import orm
from pydantic import BaseModel, ConfigDict, Field

from leopold_model.config import ConfigError, parse


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HopSettings(_Settings):
    """How a committed hop is told from a flicker, and which classes of hops are enumerated."""

    species: str = Field(description="symbol of the species whose sites the carrier occupies")
    cutoff: float = Field(7.0, gt=0, description="Angstrom, longest hop enumerated beforehand")
    tau_min: float = Field(50.0, gt=0, description="fs a carrier must stay for its hop to count")
    core: float = Field(0.7, gt=0.5, lt=1, description="share of the moment at which a site is reached")
    return_time: float = Field(200.0, gt=0, description="fs within which an undone hop is a back-hop")
    host_moments: tuple[float, ...] | None = Field(
        None, description="mu_B of every atom of a magnetic host; classes are then those of its magnetic group"
    )


class SelectionSettings(_Settings):
    """Which frames of which hops are sent to the reference."""

    offsets: tuple[float, ...] = Field((-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0), min_length=1)
    before_stop: tuple[float, ...] = Field(
        (40.0, 20.0, 10.0), description="fs before a guard stopped a replica: those frames are labelled first"
    )
    hops_per_pathway: int = Field(3, ge=1, description="hops per class and round")
    max_frames: int = Field(24, ge=1, description="labels per round")
    min_verified: int = Field(2, ge=1, description="verified labels that settle a class")
    max_attempts: int = Field(40, ge=1, description="labels after which a class is given up")
    holdout: float = Field(0.25, ge=0, lt=1, description="fraction of the hops of a class kept from training")


class CriteriaSettings(_Settings):
    """When learning stops; every one must hold."""

    quiet_rounds: int = Field(1, ge=1, description="consecutive explorations in which no class lacked labels")
    max_unseen_mass: float = Field(0.1, gt=0, le=1, description="Good-Turing: hops of classes seen once over all hops")
    min_hops: int = Field(20, ge=1, description="hops with the newest model")
    max_stopped: float = Field(0.1, ge=0, le=1, description="share of the newest replicas that a guard stopped")
    max_force_rmse: float = Field(0.2, gt=0, description="eV/Angstrom, on hop frames never trained on")
    max_occupation_rmse: float = Field(0.05, gt=0, description="e, on hop frames never trained on")


class LearnSettings(_Settings):
    """`settings` of LearnWorkChain."""

    selection: SelectionSettings = SelectionSettings()
    criteria: CriteriaSettings = CriteriaSettings()
    max_rounds: int = Field(4, ge=1)
    max_labels: int = Field(100, ge=1, description="labels over all rounds, budget")
    max_node_hours: float | None = Field(None, gt=0, description="of all jobs of all rounds, budget; None: no limit")


class TransportSettings(_Settings):
    """`settings` of TransportWorkChain."""

    n_bootstrap: int = Field(1000, ge=50, description="samples behind every interval")
    min_hops: int = Field(10, ge=1, description="committed hops to reach at every temperature, else exit 602")
    max_steps: int = Field(1, ge=1, description="steps per replica beyond which no instalment is added, budget")
    rows: tuple[int, int, int] | None = Field(
        None, description="[uvw]: populations of rows of sites by their distance from defects; conventional axes"
    )
    planes: tuple[int, int, int] | None = Field(None, description="(hkl): the same of planes of sites")


def checked_by(schema: type[BaseModel], where: str) -> Callable:
    """Validator of a `Dict` port: the faults `schema` finds, each with key, value and remedy."""

    def check(node: orm.Dict | None, _=None) -> str | None:
        if node is None:
            return None
        try:
            parse(node.get_dict(), schema, where=where)
        except ConfigError as error:
            return str(error)
        return None

    return check
