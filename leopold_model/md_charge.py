"""How the charge state follows the moments during dynamics, and what is counted when it moves.

The network is told where the carriers are and predicts the moments; the moments decide where the carriers are at the
next step. `published` (Birschitzky et al.) puts them on the n largest moments every step. `hysteresis` lets a site
take a carrier only when its moment leads the carrier's by a relative margin: a rule without memory, once the moments
are close, flips back and forth every step.

A carrier that moves continuously shares its moment between both sites on the way, and the moments say where it goes.
One that jumps does not: the network, told the old site, knows that the carrier cannot stay, for its moment fades, but
no moment says which of many sites takes it. The energies do (`whereabouts`): the network gives one for every charge
state, and the carrier goes where it is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

CHATTER_TIME = 3.0  # fs: a change undone within this time was never a hop
REACH = 33  # sites, the old one included, among which a carrier that is missing is looked for: the nearest ones


def next_carriers(carriers, moments, margin: float, positions=None, cell=None):
    """Sites of the n carriers at the next step, (n,) int32, in the order of identity: slot k stays carrier k.

    `carriers` (n,) now, `moments` (n_atoms,) as predicted with them. `margin` is the relative lead a newcomer needs,
    0 for the published rule. A carrier that leaves goes to the nearest newly taken site (`positions` (n_atoms, 3),
    `cell` (3, 3), used for n > 1 only).
    """
    n = carriers.shape[0]
    held = jnp.zeros(moments.shape[0], bool).at[carriers].set(True)
    boosted = moments + jnp.where(held, margin * jnp.abs(moments), 0.0)
    # at a tie the holder stays
    chosen = jax.lax.top_k(jnp.where(held, jnp.nextafter(boosted, jnp.inf), boosted), n)[1].astype(jnp.int32)
    if n == 1:
        return chosen
    stays = (carriers[:, None] == chosen[None, :]).any(axis=1)
    free = ~(chosen[:, None] == carriers[None, :]).any(axis=1)
    distance = _length(positions[chosen][None] - positions[carriers][:, None], cell)
    result = carriers
    for slot in range(n):
        nearest = jnp.argmin(jnp.where(free, distance[slot], jnp.inf))
        result = result.at[slot].set(jnp.where(stays[slot], carriers[slot], chosen[nearest]))
        free = free & (stays[slot] | (jnp.arange(n) != nearest))
    return result


def incomplete(moments, least: float):
    """Whether the moments (..., n_atoms) of a structure add up to less than `least` (mu_B): a carrier is missing."""
    return moments.sum(axis=-1) < least


def whereabouts(carriers, moments, species, positions, cell, energy):
    """Sites (n,) of the carriers once the missing one, whose site has the least moment, is where the energy is lowest.

    `carriers` (n,) as the `moments` (n_atoms,) were told, `energy(carriers)` eV of these atoms with the carriers there.
    Looked at are the nearest atoms of the same species (n_atoms,) that hold no other carrier, the old site among them.
    """
    slot = jnp.argmin(moments[carriers])
    old = carriers[slot]
    distance = _length(positions - positions[old], cell)
    free = jnp.ones(len(distance), bool).at[carriers].set(False).at[old].set(True)
    distance = jnp.where(free & (species == species[old]), distance, jnp.inf)
    nearness, sites = jax.lax.top_k(-distance, min(REACH, len(distance)))
    energies = jax.lax.map(lambda site: energy(carriers.at[slot].set(site)), sites.astype(jnp.int32))
    lowest = jnp.argmin(jnp.where(jnp.isfinite(nearness), energies, jnp.inf))
    return carriers.at[slot].set(sites[lowest].astype(carriers.dtype))


def _length(vectors, cell):
    """Lengths (...) of `vectors` (..., 3) to the image that is nearest by fractional coordinates."""
    fractional = vectors @ jnp.linalg.inv(cell)
    return jnp.linalg.norm((fractional - jnp.round(fractional)) @ cell, axis=-1)


@dataclass
class FlipLog:
    """Every change of charge state of one replica.

    `rows` holds [row, slot, from, to] of each; `released` the energy (eV) the conserved quantity lost in that step,
    which is what the sudden change of charge state took out of the system. Steps without a change lose a little too,
    from the integrator: `noise2` and `quiet` accumulate its square, so that the root mean square stands beside it.
    """

    rows: list[list[int]] = field(default_factory=list)
    released: list[float] = field(default_factory=list)
    noise2: float = 0.0
    quiet: int = 0
    last_carriers: np.ndarray | None = None
    last_conserved: float = float("nan")

    def add(self, first_row: int, carriers: np.ndarray, conserved: np.ndarray) -> None:
        """Consecutive rows: `carriers` (B, n), `conserved` (B,) eV."""
        if len(carriers) == 0:
            return
        if self.last_carriers is not None:
            carriers = np.concatenate([self.last_carriers[None], carriers])
            conserved = np.concatenate([[self.last_conserved], conserved])
            first_row -= 1
        changed = carriers[1:] != carriers[:-1]
        lost = conserved[:-1] - conserved[1:]
        for b, slot in zip(*np.nonzero(changed), strict=True):
            self.rows.append([first_row + int(b) + 1, int(slot), int(carriers[b, slot]), int(carriers[b + 1, slot])])
            self.released.append(float(lost[b]))
        calm = ~changed.any(axis=1)
        self.noise2 += float((lost[calm] ** 2).sum())
        self.quiet += int(calm.sum())
        self.last_carriers, self.last_conserved = carriers[-1].copy(), float(conserved[-1])

    def summary(self, timestep: float) -> dict:
        """Counts and energies for the result file; `chatter` counts changes undone within CHATTER_TIME."""
        released = np.array(self.released)
        energies: dict[str, float | None] = {"mean": None, "mean_absolute": None, "max_absolute": None}
        if len(released):
            energies = {
                "mean": float(released.mean()),
                "mean_absolute": float(np.abs(released).mean()),
                "max_absolute": float(np.abs(released).max()),
            }
        energies["rms_of_quiet_steps"] = float(np.sqrt(self.noise2 / self.quiet)) if self.quiet else None
        return {"flips": len(self.rows), "chatter": chatter(self.rows, timestep), "energy_released_eV": energies}


def chatter(rows: list[list[int]], timestep: float) -> int:
    """How many of the changes [row, slot, from, to] were undone within CHATTER_TIME."""
    last: dict[int, list[int]] = {}
    count = 0
    for row, slot, old, new in rows:
        before = last.get(slot)
        if before and before[2] == new and (row - before[0]) * timestep <= CHATTER_TIME + 1e-9:
            count += 1
        last[slot] = [row, slot, old, new]
    return count
