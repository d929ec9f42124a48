"""The AiiDA side of LEOPOLD: WorkChains, CalcJobs, parsers and data types. Nothing in this package imports jax."""

from leopold_model import __version__  # noqa: F401 (AiiDA records it on every process node)
