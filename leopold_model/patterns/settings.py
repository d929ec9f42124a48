"""How patterns are learned and annealed: what `training` and `annealing` take, readable without jax and numba."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from leopold_model.config import _Section
from leopold_model.patterns.descriptor import DescriptorConfig

Explore = Literal["all", "layers", "carriers", "defects"]


class PatternTrainConfig(_Section):
    """How patterns are learned. With `augment`, as in the paper, the networks learn every image by itself (the images
    of a label never leave its part of the data); without, the mean over the images. The paper's optimiser is `sgd`."""

    descriptor: DescriptorConfig = DescriptorConfig()
    members: int = Field(4, ge=1, description="networks of the ensemble")
    epochs: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=1)
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(1e-2, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    augment: bool = True
    patience: int = Field(50, ge=1, description="epochs without a better validation error, of every member")
    split: Literal["orbit", "pattern"] = "orbit"
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)


class AnnealConfig(_Section):
    """How chains run: `moves` trial moves each, in `blocks` of equal length."""

    temperature: float = Field(1000.0, gt=0, description="K, of the last block")
    start_temperature: float | None = Field(None, gt=0, description="K, of the first block; None: temperature")
    ladder: tuple[float, ...] = Field((), description="K, tempering: one chain at each")
    moves: int = Field(100_000, ge=1, description="per chain")
    blocks: int = Field(50, ge=1)
    chains: int = Field(4, ge=1, description="as many as temperatures if there is a ladder")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _whole(self):
        if self.ladder and (min(self.ladder) <= 0 or len(self.ladder) < 2):
            raise ValueError("ladder needs two or more positive temperatures")
        if self.moves < self.blocks:
            raise ValueError("give at least one move per block")
        return self

    @property
    def n_chains(self) -> int:
        """Chains that run."""
        return len(self.ladder) or self.chains

    def temperatures(self, block: int) -> np.ndarray:
        """(n_chains,) K in a block, before any exchange."""
        if self.ladder:
            return np.array(self.ladder)
        first = self.start_temperature or self.temperature
        share = block / max(self.blocks - 1, 1)
        return np.full(self.chains, first * (self.temperature / first) ** share)


class SearchConfig(AnnealConfig):
    """Chains and the moves they make; see `sampling.Sampler`."""

    explore: Explore = Field("all", description="all defects move; in layers; carriers only; all but carriers")
    reach: dict[str, tuple[float, float, float]] = Field(
        default_factory=dict, description="parent vectors a move spans"
    )
    coupled: float = Field(0.0, ge=0, lt=1, description="share of moves of two defects at once")
    members: int | None = Field(None, ge=1, description="networks of the ensemble that decide; None: all")
