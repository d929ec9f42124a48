"""LEOPOLD: a charge-aware equivariant network, its training, its dynamics and the analysis of hops.

Nothing in this package imports aiida. `frames`, `config`, `analysis` and `vasp` import no jax either: they are what
`leopold_workflows` may import.
"""

__version__ = "0.1.0"
