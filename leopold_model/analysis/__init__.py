"""From carrier tracks to mobility: sites, hops, pathways, rates, transport. Pure functions on arrays; no files, no
jax.

Read in this order: `sites` (which ideal lattice site every atom is), `hops` (committed hops from moments), `pathways`
(their symmetry-inequivalent classes), `rates`, `catalogue` (the three together, as JSON), `transport` (diffusion,
mobility, activation energies), `convergence` (when learning may stop).
"""


class AnalysisError(ValueError):
    """Input the analysis cannot use; the message names the quantity, its value and the remedy."""
