"""Where polarons and defects sit: configurations on a lattice, their learned energy, and their statistics.

A *lattice* is a crystal or slab with a few labelled *sites*, each of which keeps its host atom or holds one *species*:
a carrier (polaron), a vacancy, a dopant or an adatom. A *configuration* says what sits where in a *supercell*, with
conserved counts. Its energy is a sum over the defects,

    E = sum_i mean_g f_t(x_i^g),        x_i^g = sum_j F_t[g(r_j - r_i), s_j],

where f_t is a small network for the type t of the defect (its site label and species), the *descriptor* x is linear
in what sits around it, and g runs over the symmetry operations of the site: the output is averaged, not the
descriptor, so that directions survive (a polaron between two vacancies differs from one beside two). Because the first
layer of f is linear too, descriptor and layer are one table of pairs, by which the change of energy of a move costs the
same in any supercell. Metropolis sampling at a temperature in kelvin then finds ordered patterns on areas of many
thousand atoms.

Read in this order: `lattice` (the parent and its symmetry), `lattice_file` (its YAML), `supercell` (sites,
translations, canonical keys), `composition` (counts, balance, random and all configurations), `structures`
(configurations as atoms and back); `labels` (energies and their file), `splits`, `descriptor`, `network`, `settings`,
`training`, `fitting` (its loop, restartable), `evaluation`, `cluster_expansion` (the linear model beside it),
`learning` (all of it, with a report); `tables` (the energy as pairs), `kernel` (moves, compiled by numba), `sampling`
(one chain), `annealing` (many, restartable), `suggestion` (what to label next), `correlation`, `motifs`, `measured`
(positions from microscopy), `starts` (of dynamics), `residence` (dynamics against the lattice); `point_charges`
(energies to try things with); `command`, the `*_commands` it joins and their `options` (the command line). Pictures are
in `leopold_model.plots.patterns`.

After V. C. Birschitzky, I. Sokolovic, M. Prezzi, K. Palotas, M. Setvin, U. Diebold, M. Reticcioli and C. Franchini,
npj Comput. Mater. 10, 89 (2024). Energies in eV, lengths in Angstrom, temperatures in K, charges in units of e.
"""


class PatternError(ValueError):
    """Input the patterns cannot use; the message names the field, its value and the remedy."""
