"""Perfect crystals the analysis is tested on, and carrier tracks made by hand."""

import numpy as np
from ase.build import bulk
from ase.spacegroup import crystal

from leopold_model.analysis.hops import Track
from leopold_model.analysis.sites import host_from_structure, map_sites


def mgo(repeat=(1, 1, 1), a=4.2):
    return bulk("MgO", "rocksalt", a=a, cubic=True) * repeat


def rutile(repeat=(1, 1, 1)):
    cell = [4.594, 4.594, 2.959, 90, 90, 90]
    return crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=cell) * repeat


def nio_af2():
    """NiO with ferromagnetic (111) planes of alternating sign: atoms (64) and moments."""
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True) * (2, 2, 2)
    plane = np.rint(atoms.positions.sum(axis=1) / 4.17).astype(int)
    return atoms, np.where(atoms.numbers == 28, 1.7 * (-1.0) ** plane, 0.0)


def host(atoms, species, moments=None, **kwargs):
    return host_from_structure(
        atoms.numbers, atoms.positions, atoms.cell.array, sublattice=species, moments=moments, **kwargs
    )


def site_map(atoms, crystal_host):
    return map_sites(crystal_host, atoms.numbers, atoms.positions, atoms.cell.array)


def track_of(stays, *, ramp=10, dt=1.0, noise=0.0, seed=0, n_sites=None):
    """A track of one carrier: `stays` = [(site, fs), ...], moments crossing linearly over `ramp` fs between stays (0:
    they jump). All sites are tracked, sorted by moment."""
    rng = np.random.default_rng(seed)
    n = n_sites or max(site for site, _ in stays) + 2
    rows = []
    for index, (site, time) in enumerate(stays):
        if index and ramp:
            for s in np.linspace(0, 1, int(ramp / dt) + 2)[1:-1]:
                row = np.full(n, 0.02)
                row[stays[index - 1][0]] = 0.8 * (1 - s) + 0.02
                row[site] = 0.8 * s + 0.02
                rows.append(row)
        row = np.full(n, 0.02)
        row[site] = 0.82
        rows += [row] * round(time / dt)
    moments = np.array(rows) + noise * rng.normal(size=(len(rows), n))
    return track_from_moments(moments, dt)


def track_from_moments(moments, dt=1.0, n_carriers=1):
    order = np.argsort(-moments, axis=1)
    return Track(np.arange(len(moments)) * dt, order, np.take_along_axis(moments, order, 1), n_carriers)
