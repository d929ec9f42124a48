"""Models with random parameters: right or wrong does not depend on what was learned."""

from itertools import pairwise

import numpy as np

from leopold_model.patterns.descriptor import Descriptor, DescriptorConfig
from leopold_model.patterns.lattice_file import Instance
from leopold_model.patterns.network import HIDDEN, PatternModel


def random_model(instance: Instance, config: DescriptorConfig | None = None, members=1, seed=0, scale=1.0):
    """He's initial parameters; biases are of the size of the features' signal, so that the rectifiers do rectify."""
    rng = np.random.default_rng(seed)
    descriptor = Descriptor(instance.lattice, config or DescriptorConfig())
    layers = []
    for b, _ in descriptor.types:
        sizes = (descriptor.surroundings[b].n_features, *HIDDEN, 1)
        of = [
            (rng.normal(size=(members, i, o)) * np.sqrt(2 / i), 0.03 * rng.normal(size=(members, o)))
            for i, o in pairwise(sizes)
        ]
        of[-1] = (scale * of[-1][0], scale * of[-1][1])
        layers.append(of)
    return PatternModel(instance, descriptor, layers)
