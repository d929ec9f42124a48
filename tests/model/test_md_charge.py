"""Where a carrier goes that the moments miss, on a line of atoms with energies that are given."""

import jax.numpy as jnp
import numpy as np
import pytest

from leopold_model.md_charge import REACH, incomplete, whereabouts

CELL = np.diag([60.0, 5.0, 5.0])
LINE = np.stack([np.arange(0.0, 60.0, 1.0), np.zeros(60), np.zeros(60)], axis=1)


def found(site_energies, carriers=(10,), moments=None, species=None):
    """Sites after `whereabouts`; the energy of a charge state is the sum over its sites."""
    energies = jnp.asarray(site_energies)
    moments = np.full(60, 0.01) if moments is None else moments
    species = np.zeros(60, int) if species is None else species
    answer = whereabouts(
        jnp.asarray(carriers, jnp.int32), jnp.asarray(moments), jnp.asarray(species), LINE, CELL,
        lambda sites: energies[sites].sum(),
    )  # fmt: skip
    return answer.tolist()


def test_the_lowest_energy_takes_it():
    energies = np.ones(60)
    energies[14] = 0.5
    assert found(energies) == [14]


def test_the_old_site_keeps_it_at_a_tie():
    assert found(np.ones(60)) == [10]


def test_looked_at_are_the_nearest_sites_across_the_boundary_too():
    energies = np.ones(60)
    energies[40] = 0.0  # the farthest one
    assert found(energies) == [10]
    energies[56] = 0.5  # 14 away, through the boundary
    assert found(energies) == [56] and REACH < 60


def test_only_atoms_of_the_same_species():
    energies = np.ones(60)
    energies[11], energies[12] = 0.0, 0.5
    assert found(energies, species=np.arange(60) % 2) == [12]


def test_of_several_the_weakest_goes_and_takes_no_site_of_another():
    energies, moments = np.ones(60), np.full(60, 0.01)
    energies[12], energies[14], moments[12] = 0.0, 0.5, 0.8
    assert found(energies, carriers=(12, 10), moments=moments) == [12, 14]


@pytest.mark.parametrize(("share", "missing"), [(0.4, True), (0.6, False)])
def test_a_shared_carrier_is_not_missing(share, missing):
    moments = jnp.array([0.5 * share, 0.5 * share, 0.0])
    assert bool(incomplete(moments, 0.5)) == missing
