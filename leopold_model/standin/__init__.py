"""A generative stand-in for VASP: a self-trapped carrier on a classical lattice, behind VASP's files.

Its numbers come from a model Hamiltonian whose barriers were chosen, not predicted; they are never DFT+U results.
"""
