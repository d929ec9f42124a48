"""Plain-text VASP: what a polaron run reads and writes. No aiida, no jax."""
