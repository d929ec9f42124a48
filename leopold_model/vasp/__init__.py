"""Plain-text VASP: what a polaron run reads and writes. No aiida, no jax.

Reading: `sources` chooses among the files of a run; `outcar` (with `header`), `vaspout` and `vasprun` read one each
into the steps of a `run`; `lines` undoes compression; `spheres` makes spin occupations where no matrices are printed.

Writing: `incar`, `poscar` and `occmatrix`; `template` takes a carrier's occupations from a run, `rotation` turns them.

Commands: `import_command` (`leopold import-vasp`) and `occmatrix_command` (`leopold occmatrix`).
"""
