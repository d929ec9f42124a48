"""Schemas of the settings that the WorkChains of patterns take as one `Dict`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from leopold_workflows.settings import _Settings


class InitialSettings(_Settings):
    """The configurations of the first round."""

    n: int = Field(100, ge=4)
    charge_share: float = Field(0.5, ge=0, le=1, description="of them the lowest of many by screened point charges")


class PatternCriteria(_Settings):
    """When learning stops; every one must hold."""

    quiet_rounds: int = Field(2, ge=1, description="consecutive rounds in which no lower configuration was confirmed")
    energy_tolerance: float = Field(0.01, ge=0, description="eV; lower by less is not lower")
    max_window_error: float = Field(10.0, gt=0, description="meV per defect, on the labels a model suggested itself")


class PatternLearnSettings(_Settings):
    """`settings` of LearnPatternsWorkChain."""

    initial: InitialSettings = InitialSettings()
    per_round: int = Field(40, ge=1, description="configurations labelled per round after the first")
    boldness: float = Field(1.0, ge=0, description="what an eV of disagreement is worth beside an eV of energy")
    criteria: PatternCriteria = PatternCriteria()
    max_rounds: int = Field(8, ge=1)
    max_labels: int = Field(1000, ge=4, description="configurations sent to VASP, budget")


Treatment = Literal["none", "random", "learned"]


class SurfaceSettings(_Settings):
    """`settings` of SurfacePatternWorkChain."""

    treatments: tuple[Treatment, ...] = Field(("none", "random", "learned"), min_length=1)
    sweep: tuple[float, ...] = Field((), description="shares of sites with the defect, each annealed with carriers")
    label: str | None = Field(None, description="sites of the defect; None: the first that hold it")
    species: str | None = Field(None, description="the defect that is counted; None: the first that is no carrier")
    axis: int = Field(0, ge=0, le=2, description="parent axis along the rows")
    rows: int = Field(2, ge=1, description="same row, adjacent rows, and so on")
    ranked: int = Field(10, ge=1, description="configurations in the ranking table, of each treatment")
    starts: int = Field(10, ge=1, description="configurations handed over to dynamics, of each kind")
