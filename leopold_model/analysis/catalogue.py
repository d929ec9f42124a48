"""The pathway catalogue: every committed hop of a set of runs, by class, with rates and what was not seen.

What is stored is the host, the settings and the hop tables; counts, rates and lists of unseen classes follow from
them, so that catalogues merge by joining their replicas. The JSON of `to_dict` also prints the derived tables for
readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.defects import has_defects
from leopold_model.analysis.hops import Hop, HopTable, Track, find_hops, is_adiabatic
from leopold_model.analysis.pathways import (
    PathwaySet,
    classify,
    enumerate_pathways,
    length,
    longest,
    near_defects,
    resolvable,
)
from leopold_model.analysis.rates import Rate, garwood
from leopold_model.analysis.sites import Host, SiteMap, map_sites
from leopold_model.analysis.slabs import slab_of

if TYPE_CHECKING:
    from leopold_model.tracks import TrackFile

FORMAT_VERSION = 3


@dataclass(frozen=True)
class ReplicaHops:
    """Hops of one trajectory: `run` names it, `temperature` K, `matrix` (3, 3) the supercell in host lattice vectors,
    `lattice` (3, 3) the host lattice as simulated (Angstrom), `n_sites` those a carrier could use; `sites` which site
    each atom is, where the supercell has defects or is a slab, None in a perfect crystal."""

    run: str
    replica: int
    temperature: float
    seed: int
    n_carriers: int
    matrix: np.ndarray
    lattice: np.ndarray
    n_sites: int
    table: HopTable
    sites: SiteMap | None = None

    @property
    def carrier_time(self) -> float:
        """Duration times carriers, fs."""
        return self.table.duration * self.n_carriers

    @cached_property
    def arrangement(self) -> tuple:
        """Equal for replicas whose supercells have the same defects on the same sites."""
        if self.sites is None:
            return ()
        vacancies = b"" if self.sites.vacancies is None else np.round(self.sites.vacancies, 6).tobytes()
        parts = (self.sites.matrix, self.sites.sublattice, self.sites.cell)
        return (*(part.tobytes() for part in parts), self.sites.substitutions, vacancies)


@dataclass(frozen=True)
class PathwayCount:
    """One class and how often it was seen: `hops`, of which `relayed` ones were legs of a longer hop, `back` ones
    undid the hop before, `adiabatic` ones went through a shared state and `ambiguous` ones have an image the cell
    cannot tell; `resolvable` the fraction of its hops the cells can show."""

    name: str
    distance: float
    direction: str
    multiplicity: int
    hops: int
    relayed: int
    back: int
    adiabatic: int
    ambiguous: int
    resolvable: float


@dataclass(frozen=True)
class Catalogue:
    """Hops of `replicas` in the classes of `host` below `cutoff` (Angstrom), found with `tau_min` and `return_time`
    (fs) and the core share `core`. `carrier` is 'electron' or 'hole'."""

    host: Host
    carrier: str
    cutoff: float
    tau_min: float
    core: float
    return_time: float
    replicas: tuple[ReplicaHops, ...]

    @cached_property
    def classes(self) -> PathwaySet:
        """Every class below the cutoff, and beyond it as far as hops were seen."""
        keys = {leg for r in self.replicas for hop in r.table.hops for leg in hop.legs}
        return enumerate_pathways(self.host, max(self.cutoff, *(length(self.host, key) for key in keys), 0.0))

    @cached_property
    def pathways(self) -> tuple[PathwayCount, ...]:
        """Every class below the cutoff, seen or not, and those seen beyond it, by distance."""
        hops = [hop for r in self.replicas for hop in r.table.hops]
        counts = _count(hops)
        relayed = _count(hop for hop in hops if len(hop.legs) > 1)
        back = _count(hop for hop in hops if hop.back)
        adiabatic = _count(hop for hop in hops if hop.adiabatic)
        ambiguous = _count(hop for hop in hops if hop.ambiguous)
        maps = {r.matrix.tobytes(): _perfect(self.host, r) for r in self.replicas}.values()
        near = self._near_defects
        return tuple(
            PathwayCount(
                name=name,
                distance=p.distance,
                direction=p.direction,
                multiplicity=p.multiplicity,
                hops=counts[name],
                relayed=relayed[name],
                back=back[name],
                adiabatic=adiabatic[name],
                ambiguous=ambiguous[name],
                resolvable=max((resolvable(p, m) for m in maps), default=0.0),
            )
            for p in self.classes
            for name in (p.name, *sorted(near.get(p.name, ())))
            if p.distance <= self.cutoff or counts[name]
        )

    @cached_property
    def _near_defects(self) -> dict[str, set[str]]:
        """Class -> its names near the defects of any replica."""
        names: dict[str, set[str]] = {}
        for sites in {r.arrangement: r.sites for r in self.replicas if r.sites is not None}.values():
            for name, found in near_defects(sites, self.classes).items():
                names.setdefault(name, set()).update(found)
        return names

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of the classes with at least one committed hop, most frequent first."""
        return tuple(p.name for p in sorted(self.pathways, key=lambda p: -p.hops) if p.hops)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the classes below the cutoff without a hop."""
        return tuple(p.name for p in self.pathways if not p.hops)

    @property
    def n_hops(self) -> int:
        """Committed hops over all replicas."""
        return sum(len(r.table) for r in self.replicas)

    def hops_at(self, temperature: float) -> int:
        """Committed hops at one temperature."""
        return sum(len(r.table) for r in self.replicas if r.temperature == temperature)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Distinct temperatures, ascending, K."""
        return tuple(sorted({r.temperature for r in self.replicas}))

    def carrier_time(self, temperature: float | None = None) -> float:
        """Observed carrier time, fs, at one temperature or over all."""
        return sum(r.carrier_time for r in self.replicas if temperature in (None, r.temperature))

    def counts(self, temperature: float | None = None) -> dict[str, int]:
        """Hops per class name (unseen ones included), at one temperature or over all."""
        hops = _count(h for r in self.replicas if temperature in (None, r.temperature) for h in r.table.hops)
        return {p.name: hops[p.name] for p in self.pathways}

    def rates(self, temperature: float, confidence: float = 0.95) -> dict[str, Rate]:
        """Rate per class and carrier at one temperature; unseen classes carry their upper limit."""
        if temperature not in self.temperatures:
            raise AnalysisError(
                f"no run at {temperature} K; there are runs at {', '.join(map(str, self.temperatures))} K"
            )
        time = self.carrier_time(temperature)
        return {name: garwood(n, time, confidence) for name, n in self.counts(temperature).items()}

    def count_table(self, temperature: float | None = None) -> dict:
        """How many hops, and what was not counted as one, at one temperature or over all; JSON-ready.

        `hops`; of them `back`, `adiabatic` and `relayed` (by way of another site: each leg counts in its class);
        `excursions` that came back before committing; `changes` of the leading site, the raw count; `by_tau_min_fs`:
        the hops a stay of that many fs, printed as text, would give; `unresolved_fs`: of the time, that in which
        several carriers had fewer sites than there are of them.
        """
        tables = [r.table for r in self.replicas if temperature in (None, r.temperature)]
        by_tau: Counter = Counter()
        for table in tables:
            by_tau.update(table.counts)
        return {
            "hops": sum(len(table) for table in tables),
            "back": sum(table.n_back for table in tables),
            "adiabatic": sum(hop.adiabatic for table in tables for hop in table.hops),
            "relayed": sum(len(hop.legs) > 1 for table in tables for hop in table.hops),
            "excursions": sum(table.n_excursions for table in tables),
            "changes": sum(table.n_changes for table in tables),
            "by_tau_min_fs": {f"{tau:g}": by_tau[tau] for tau in sorted(by_tau)},
            "unresolved_fs": sum(table.unresolved for table in tables),
        }

    @property
    def summary(self) -> str:
        """One line: what was seen of what there is."""
        below = [p for p in self.pathways if p.distance <= self.cutoff]
        seen = sum(bool(p.hops) for p in below)
        beyond = sum(bool(p.hops) for p in self.pathways if p.distance > self.cutoff)
        extra = f" and {beyond} beyond" if beyond else ""
        total = f"{self.n_hops} hops in {self.carrier_time() / 1e3:.1f} ps"
        return f"seen {seen} of {len(below)} classes below {self.cutoff:g} A{extra}; {total}"

    def to_dict(self) -> dict:
        """JSON-ready: what defines the catalogue, and the derived tables for readers."""
        return {
            "format": "leopold-catalogue",
            "version": FORMAT_VERSION,
            "summary": self.summary,
            "n_hops": self.n_hops,
            "pathways": [asdict(p) for p in self.pathways],
            "seen": list(self.seen),
            "unseen": list(self.unseen),
            "rates": [
                {
                    "temperature": t,
                    "pathways": {name: r.to_dict() for name, r in self.rates(t).items()},
                    "counts": self.count_table(t),
                }
                for t in self.temperatures
            ],
            "counts": self.count_table(),
            "hops_by_tau_min_fs": self.count_table()["by_tau_min_fs"],
            "host": self.host.to_dict(),
            "carrier": self.carrier,
            "cutoff": self.cutoff,
            "tau_min": self.tau_min,
            "core": self.core,
            "return_time": self.return_time,
            "replicas": [_replica_dict(r) for r in self.replicas],
        }

    @classmethod
    def from_dict(cls, data: dict) -> Catalogue:
        """Inverse of `to_dict`; the derived tables are made anew."""
        if data.get("format") != "leopold-catalogue":
            raise AnalysisError("not a pathway catalogue: expected the JSON of Catalogue.to_dict")
        if data["version"] > FORMAT_VERSION:
            raise AnalysisError(f"catalogue format {data['version']} is newer than {FORMAT_VERSION}: update leopold")
        host = Host.from_dict(data["host"])
        return cls(
            host=host,
            carrier=data["carrier"],
            cutoff=data["cutoff"],
            tau_min=data["tau_min"],
            core=data["core"],
            return_time=data["return_time"],
            replicas=tuple(_replica_from(r, data["core"], host) for r in data["replicas"]),
        )


def build_catalogue(
    tracks: TrackFile | Sequence[TrackFile],
    host: Host,
    cutoff: float = 7.0,
    tau_min: float = 50.0,
    *,
    core: float = 0.7,
    return_time: float = 200.0,
    run: str = "",
) -> Catalogue:
    """Hops of every replica of one or more track files, classified.

    `cutoff` in Angstrom, `tau_min` and `return_time` in fs (see `hops.find_hops`), `run` a name kept with every
    replica. Atoms are mapped to sites by the mean positions of the replica where stored, by its start otherwise. A
    replica that a guard stopped before its first production step has nothing to count and is left out.
    """
    files: Sequence[TrackFile] = tracks if isinstance(tracks, Sequence) else (tracks,)
    if not any(track.replicas for track in files):
        raise AnalysisError("the track holds no replica: nothing was run")
    begun = [(track, r) for track in files for r in track.replicas if len(r)]
    if not begun:
        raise AnalysisError("the track is empty (0 steps): no production step was recorded; run longer")
    slab = slab_of(host) is not None
    replicas, reach = [], cutoff
    for track, r in begun:
        positions = r.positions if r.mean_positions is None else r.mean_positions
        site_map = map_sites(host, track.numbers, positions, r.cell)
        found = find_hops(
            Track(r.times, r.sites, r.moments, track.n_carriers),
            tau_min=tau_min,
            core=core,
            return_time=return_time,
            distance=site_map.distance,
        )
        reach = max(reach, longest(found.hops, site_map))
        replicas.append((track, r, site_map, found))
    classes = enumerate_pathways(host, reach)
    return Catalogue(
        host=host,
        carrier=files[0].carrier,
        cutoff=cutoff,
        tau_min=tau_min,
        core=core,
        return_time=return_time,
        replicas=tuple(
            ReplicaHops(
                run=run,
                replica=r.replica,
                temperature=r.temperature,
                seed=r.seed,
                n_carriers=track.n_carriers,
                matrix=site_map.matrix,
                lattice=site_map.lattice,
                n_sites=len(site_map.carrier_atoms),
                table=replace(found, hops=classify(found.hops, site_map, classes)),
                sites=site_map if slab or has_defects(site_map) else None,
            )
            for track, r, site_map, found in replicas
        ),
    )


def merge(catalogues: Sequence[Catalogue]) -> Catalogue:
    """One catalogue of all replicas. Hosts, carriers and settings must agree: hops counted differently cannot be
    added."""
    if not catalogues:
        raise AnalysisError("no catalogue to merge")
    first = catalogues[0]
    for other in catalogues[1:]:
        for name in ("carrier", "cutoff", "tau_min", "core", "return_time"):
            if getattr(first, name) != getattr(other, name):
                raise AnalysisError(
                    f"catalogues with {name} = {getattr(first, name)!r} and {getattr(other, name)!r} cannot be merged: "
                    "analyse the tracks again with one setting"
                )
        same = first.host.lattice.shape == other.host.lattice.shape and first.host.basis.shape == other.host.basis.shape
        if not (
            same and np.allclose(first.host.lattice, other.host.lattice) and first.host.species == other.host.species
        ):
            raise AnalysisError("catalogues of different hosts cannot be merged")
    return replace(first, replicas=tuple(r for c in catalogues for r in c.replicas))


def _count(hops: Iterable[Hop]) -> Counter:
    """Class -> hops; each leg of a relayed hop counts in its own class."""
    return Counter(name for hop in hops for name in hop.pathway.split(" + "))


def _perfect(host: Host, replica: ReplicaHops) -> SiteMap:
    """A site map that knows the supercell only; enough for images."""
    none = np.zeros((0, 3))
    return SiteMap(host, replica.matrix, replica.lattice, np.zeros(0, dtype=int), none.astype(int), none)


def _replica_dict(r: ReplicaHops) -> dict:
    table = asdict(r.table)
    table["counts"] = {f"{tau:g}": n for tau, n in r.table.counts.items()}
    plain = {k: getattr(r, k) for k in ("run", "replica", "temperature", "seed", "n_carriers", "n_sites")}
    sites = {} if r.sites is None else {"sites": _sites_dict(r.sites)}
    return {**plain, "matrix": r.matrix.tolist(), "lattice": r.lattice.tolist(), "table": table, **sites}


def _sites_dict(sites: SiteMap) -> dict:
    return {
        "sublattice": sites.sublattice.tolist(),
        "cell": sites.cell.tolist(),
        "substitutions": list(sites.substitutions),
        "vacancies": [] if sites.vacancies is None else sites.vacancies.tolist(),
    }


def _sites_from(data: dict, host: Host, matrix: np.ndarray, lattice: np.ndarray) -> SiteMap:
    """Inverse of `_sites_dict`; where the atoms stood beside their sites is not kept."""
    cell = np.array(data["cell"], dtype=int).reshape(-1, 3)
    return SiteMap(
        host, matrix, lattice, np.array(data["sublattice"], dtype=int), cell, np.zeros(cell.shape),
        tuple(data["substitutions"]), np.array(data["vacancies"]).reshape(-1, 3),
    )  # fmt: skip


def _replica_from(data: dict, core: float, host: Host) -> ReplicaHops:
    table = dict(data["table"])
    table["counts"] = {float(tau): n for tau, n in table["counts"].items()}
    table["hops"] = tuple(_hop_from(hop, core) for hop in table["hops"])
    for name in ("first_sites", "last_sites"):
        table[name] = tuple(table[name])
    matrix, lattice = np.array(data["matrix"]), np.array(data["lattice"])
    values = {**data, "matrix": matrix, "lattice": lattice, "table": HopTable(**table)}
    if "sites" in data:
        values["sites"] = _sites_from(data["sites"], host, matrix, lattice)
    return ReplicaHops(**values)


def _hop_from(data: dict, core: float) -> Hop:
    tuples = {name: tuple(data[name]) for name in ("via", "vector")} | {"legs": tuple(map(tuple, data["legs"]))}
    # catalogues of version 1 do not say it
    return Hop(**{"adiabatic": is_adiabatic(data["max_sharing"], core), **data, **tuples})
