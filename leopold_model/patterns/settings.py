"""How patterns are learned: the settings of `training`, readable without jax."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from leopold_model.config import _Section
from leopold_model.patterns.descriptor import DescriptorConfig


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
