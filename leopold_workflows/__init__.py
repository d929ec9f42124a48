"""The AiiDA side of LEOPOLD: WorkChains, CalcJobs, parsers and data types. Nothing in this package imports jax."""
