"""Barriers: two displaced parabolas, whose crossing is known, the stand-in's known hops, and the command."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from leopold_model import barrier_command, barrier_report
from leopold_model.barrier import (
    BarrierError,
    Point,
    State,
    coupled,
    displacement,
    image_on,
    learned_surface,
    linear_path,
    minimum_energy_path,
    relax,
    site_map,
    standin_surface,
)
from leopold_model.calculator import LeopoldCalculator
from leopold_model.checkpoint import Model
from leopold_model.cli import main
from leopold_model.frames import Frame, write_frames
from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.engine import Engine
from tests.model.conftest import random_model, rattled, small_spec
from tests.standin.physics_case import localise

STIFFNESS, PUSH = 5.0, 0.5  # eV/Angstrom^2 and eV/Angstrom


class Parabolas:
    """Every atom on a spring to its ideal site; the carrier pushes the six nearest atoms away from it.

    The surfaces of two sites are equal parabolas with minima apart: for a reorganisation energy L and end points that
    differ by D they cross on the straight line at s = 1/2 + D / 2L, (L + D)^2 / 4L above the first (Marcus).
    """

    def __init__(self, ideal, higher: dict[int, float] | None = None):
        self.ideal, self.higher, self.known = ideal, higher or {}, {}

    def push(self, site: int) -> np.ndarray:
        if site in self.known:
            return self.known[site]
        away = self.ideal.get_distances(site, range(len(self.ideal)), mic=True, vector=True)
        near = np.argsort(np.linalg.norm(away, axis=1), kind="stable")[1:7]
        push = self.known[site] = np.zeros((len(self.ideal), 3))
        push[near] = PUSH * away[near] / np.linalg.norm(away[near], axis=1)[:, None]
        return push

    def __call__(self, positions, site: int) -> State:
        u = positions - self.ideal.positions
        u = u - np.rint(u @ np.linalg.inv(self.ideal.cell)) @ self.ideal.cell
        push = self.push(site)
        energy = 0.5 * STIFFNESS * (u**2).sum() - (push * u).sum() + self.higher.get(site, 0.0)
        return State(float(energy), push - STIFFNESS * u, np.where(np.arange(len(u)) == site, 0.8, 0.01))


@pytest.fixture(scope="module")
def mgo():
    return ideal_cell("mgo", (2, 2, 2))


SITES = (32, 33)
TAUGHT = Parabolas(ideal_cell("mgo", (2, 2, 2)))


def reorganisation(surface: Parabolas, sites=SITES) -> float:
    i, j = (surface.push(site) / STIFFNESS for site in sites)
    return 0.5 * STIFFNESS * float(((i - j) ** 2).sum())


def ends(surface, atoms, sites=SITES, fmax=1e-6):
    return [relax(surface, atoms, site, fmax, 100) for site in sites]


def shared(surface: Parabolas, coupling: float, sites=SITES):
    """The lower of the two states of `surface` with a coupling between them, whichever site is told."""

    def told(positions, site):
        i, j = (surface(positions, site) for site in sites)
        matrix = np.array([[i.energy, -coupling], [-coupling, j.energy]])
        levels, vectors = np.linalg.eigh(matrix)
        a, b = vectors[:, 0] ** 2
        return State(levels[0], a * i.forces + b * j.forces, a * i.moments + b * j.moments)

    return told


# ------------------------------------------------------------------------------------------------------ known barriers


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_parabolas_cross_where_marcus_says(mgo, difference):
    surface = Parabolas(mgo, {SITES[1]: difference})
    size = reorganisation(surface)
    start, end = ends(surface, mgo)
    path, crossing = linear_path(surface, start, end, SITES, 9)
    barrier = (size + difference) ** 2 / (4 * size)
    assert path.reaction_energy == pytest.approx(difference, abs=1e-6)
    assert crossing.point.s == pytest.approx(0.5 + difference / (2 * size), abs=1e-4)
    assert crossing.energy == pytest.approx(barrier, abs=1e-4)
    assert crossing.verdict == "diabatic" and crossing.jump > 0.9
    assert path.lower == pytest.approx(path.energies.min(axis=1))
    if difference == 0.0:  # the straight line is the minimum-energy path of two equal parabolas
        band, search = minimum_energy_path(surface, start, end, SITES, 9, 0.01, 300)
        assert search.converged and search.force < 0.01
        assert band.barrier == pytest.approx(barrier, abs=2e-3)


def test_a_state_that_is_the_same_told_either_site_passes_over_continuously(mgo):
    surface = shared(Parabolas(mgo), coupling=0.05)
    start, end = (relax(surface, a, site, 1e-6, 100) for a, site in zip(ends(Parabolas(mgo), mgo), SITES, strict=True))
    _, crossing = linear_path(surface, start, end, SITES, 9)
    assert crossing.point.s == pytest.approx(0.5, abs=1e-4)
    assert crossing.jump == pytest.approx(0.0, abs=1e-6) and crossing.verdict == "adiabatic"
    assert crossing.point.shares[0] == pytest.approx(0.5, abs=1e-3)
    band, search = minimum_energy_path(surface, start, end, SITES, 9, 0.01, 300)
    assert search.converged
    assert band.barrier == pytest.approx(crossing.energy, abs=1e-3)
    np.testing.assert_allclose(np.diff(band.s), 1 / 8, atol=0.03)


def test_the_minimum_energy_path_is_lower_than_a_straight_line_between_ends_that_are_off(mgo):
    surface = Parabolas(mgo)
    start, end = ends(surface, mgo)
    start.positions[3] += [0.0, 0.08, 0.0]
    end.positions[3] += [0.0, 0.08, 0.0]
    _, crossing = linear_path(surface, start, end, SITES, 7)
    band, search = minimum_energy_path(surface, start, end, SITES, 7, 0.02, 300)
    strain = 0.5 * STIFFNESS * 0.08**2
    assert search.converged
    assert band.barrier == pytest.approx(crossing.energy - strain, abs=3e-3)


def test_an_unfinished_search_says_so_and_keeps_its_path(mgo):
    surface = Parabolas(mgo)
    start, end = ends(surface, mgo)
    start.positions[3] += [0.0, 0.2, 0.0]
    path, search = minimum_energy_path(surface, start, end, SITES, 7, 1e-4, 2)
    assert not search.converged and search.steps == 2 and search.force > 1e-4
    assert len(path.points) == 7


def test_a_band_that_falls_into_a_hole_of_the_surface_is_given_up(mgo):
    surface = Parabolas(mgo)
    start, end = ends(surface, mgo)

    def holed(positions, site):
        # half way, where a model has seen nothing, it may answer anything
        state = surface(positions, site)
        held = state.energy < surface.bottom + 0.03
        return state if held else State(state.energy, -50.0 * np.abs(state.forces), np.full(len(positions), 0.01))

    surface.bottom = surface(start.positions, SITES[0]).energy
    path, search = minimum_energy_path(holed, start, end, SITES, 7, 0.01, 300)
    assert not search.converged and search.steps < 300
    assert search.without_state > 0 and len(path.points) == 7


def test_coupled_forces_are_the_slope_of_the_coupled_energy(mgo):
    # where both states stay and are close, the moments are the told ones
    surface = Parabolas(mgo)
    start, end = ends(surface, mgo)
    middle = start.positions + 0.48 * displacement(start, end)

    def lower(positions):
        return coupled(Point(0.0, SITES, tuple(surface(positions, site) for site in SITES)))

    atom, h = int(np.abs(surface.push(SITES[0])).sum(axis=1).argmax()), 1e-5
    shift = np.zeros_like(middle)
    shift[atom] = h
    slope = (lower(middle + shift).energy - lower(middle - shift).energy) / (2 * h)
    assert lower(middle).forces[atom].sum() == pytest.approx(-slope, abs=1e-6)
    assert lower(middle).energy < min(surface(middle, site).energy for site in SITES)


def test_the_path_takes_the_short_way_through_the_boundary(mgo):
    surface = Parabolas(mgo)
    start, end = ends(surface, mgo)
    short = displacement(start, end)
    end.positions += mgo.cell[0]
    end.wrap()
    np.testing.assert_allclose(displacement(start, end), short, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------- end points


@pytest.mark.parametrize(("crystal", "repeat", "distance"), [("mgo", (2, 2, 2), 2.96), ("tio2", (2, 2, 3), 3.52)])
def test_the_distortion_is_turned_onto_an_equivalent_site(crystal, repeat, distance):
    """In rutile the hop along [111] needs a turn by 90 degrees."""
    ideal = ideal_cell(crystal, repeat)
    surface = Parabolas(ideal)
    carriers = np.flatnonzero(ideal.symbols == ("O" if crystal == "mgo" else "Ti"))
    i = int(carriers[0])
    j = int(carriers[np.argmin(np.abs(ideal.get_distances(i, carriers, mic=True) - distance))])
    start = relax(surface, ideal, i, 1e-8, 100)
    step = image_on(site_map(start, ideal.symbols[i]), i, j)
    turned = start.positions + step
    assert np.abs(surface(turned, j).forces).max() < 1e-5
    assert surface(turned, j).energy == pytest.approx(surface(start.positions, i).energy, abs=1e-8)


def test_a_crystal_with_a_defect_has_no_map(mgo):
    defective = mgo.copy()
    del defective[5]
    assert site_map(defective, "O") is None


def test_relaxation_that_is_cut_short_or_loses_the_carrier_is_refused(mgo):
    surface = Parabolas(mgo)
    with pytest.raises(BarrierError, match=r"carrier on atom 32: largest force .* after 1 steps, above 1e-06: allow"):
        relax(surface, mgo, 32, 1e-6, 1)

    def elsewhere(positions, site):
        state = surface(positions, site)
        return State(state.energy, state.forces, np.roll(state.moments, 3))

    with pytest.raises(BarrierError, match=r"carrier on atom 32: the carrier left it, .* atom 35 0\.800"):
        relax(elsewhere, mgo, 32, 1e-6, 100)


def test_an_end_that_prefers_the_other_site_is_refused(mgo):
    surface = Parabolas(mgo, {33: -2.0})
    start, end = ends(surface, mgo)
    with pytest.raises(BarrierError, match="relaxed with the carrier on atom 32: told atom 33 instead"):
        linear_path(surface, start, end, SITES, 5)


def test_the_learned_surface_is_the_calculator():
    atoms, model = rattled(), random_model()
    surface = learned_surface(atoms, LeopoldCalculator(model, [3], dtype="float64"))
    for site in (3, 9, 3):
        direct = atoms.copy()
        direct.calc = LeopoldCalculator(model, [site], dtype="float64")
        state = surface(atoms.positions, site)
        assert state.energy == pytest.approx(direct.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(state.forces, direct.get_forces(), atol=1e-10)
        np.testing.assert_allclose(state.moments, direct.get_magnetic_moments(), atol=1e-10)


# --------------------------------------------------------------------------------------------------- the stand-in's own


@pytest.mark.parametrize(
    ("crystal", "repeat", "distance", "verdict", "barrier"),
    [
        ("tio2", (2, 2, 3), 2.99, "adiabatic", 0.088),  # [001]
        ("tio2", (2, 2, 3), 3.52, "diabatic", 0.204),  # [111]
        ("mgo", (2, 2, 2), 2.96, "adiabatic", 0.189),
    ],
)
def test_known_hops_of_the_standin(crystal, repeat, distance, verdict, barrier):
    atoms = ideal_cell(crystal, repeat)
    engine = Engine(atoms.get_chemical_symbols())
    i = int(engine.sites[0])
    apart = atoms.get_distances(i, engine.sites, mic=True)
    j = int(engine.sites[np.argmin(np.abs(apart - distance))])
    start, end = atoms.copy(), atoms.copy()
    start.positions, _ = localise(engine, atoms, i)
    end.positions = start.positions + image_on(site_map(start, atoms.symbols[i]), i, j)
    path, crossing = linear_path(standin_surface(atoms), start, end, (i, j), 9)
    assert crossing.verdict == verdict
    assert crossing.point.s == pytest.approx(0.5, abs=0.01)
    assert max(path.barrier, crossing.energy) == pytest.approx(barrier, abs=0.003)
    assert path.reaction_energy == pytest.approx(0.0, abs=1e-4)


def test_a_set_of_the_standin_by_name():
    """The carrier of anatase is held by another kernel and transfer than the set that Ti and O alone would choose."""
    atoms = ideal_cell("anatase", (2, 2, 1))
    engine = Engine(atoms.get_chemical_symbols(), parameters="anatase")
    atoms.positions, rest = localise(engine, atoms, 0)
    assert standin_surface(atoms, "anatase")(atoms.positions, 0).energy == pytest.approx(rest.energy, abs=1e-6)
    assert abs(standin_surface(atoms)(atoms.positions, 0).energy - rest.energy) > 0.05


def test_the_standin_knows_its_species_only():
    with pytest.raises(ValueError, match="species 'Ar' is unknown to the stand-in"):
        standin_surface(bulk("Ar", cubic=True))


# --------------------------------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Teacher(Model):
    """A model whose answers are the parabolas, so that the command meets a known barrier."""

    def evaluate(self, positions, cell, edges, species, charge):
        state = TAUGHT(np.asarray(positions), int(np.argmax(charge)))
        occupations = np.stack([state.moments, np.zeros_like(state.moments)], axis=1)
        return SimpleNamespace(
            energy=state.energy, forces=state.forces, occupations=occupations, virial=np.zeros((3, 3))
        )


@pytest.fixture
def leopold(monkeypatch, tmp_path, mgo):
    """Runs `leopold barrier` on the teacher and a frame with the carrier on atom 32."""
    model = Teacher(small_spec(), {"embedding": np.zeros(1)}, np.zeros(2), {"carrier": "hole", "n_carriers": 1})
    monkeypatch.setattr(barrier_command, "load_model", lambda path: model)
    frame = Frame(mgo.numbers, mgo.positions, mgo.cell.array, carrier="hole", carrier_sites=(32,))
    write_frames(tmp_path / "start.h5", [frame])
    write(tmp_path / "POSCAR", mgo)

    def run(*arguments, structure="start.h5"):
        return CliRunner().invoke(main, ["barrier", "model.leopold", str(tmp_path / structure), *arguments])

    return run


def test_command_gives_the_known_barrier(leopold, tmp_path):
    outcome = leopold("--to", "33", "--images", "7", "--fmax", "0.005", "--plot", str(tmp_path / "hop.png"), "--json")
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    barrier = reorganisation(TAUGHT) / 4
    assert result["barrier_linear_eV"] == pytest.approx(barrier, abs=1e-3)
    assert result["barrier_neb_eV"] == pytest.approx(barrier, abs=2e-3)
    assert result["reaction_energy_eV"] == pytest.approx(0.0, abs=1e-5)
    assert (result["verdict"], result["sites"], result["pathway"]) == ("diabatic", [32, 33], "O-O 2.96 A <110> x12")
    assert result["distance_Angstrom"] == pytest.approx(2.956, abs=1e-3)
    assert np.shape(result["moments"]) == (7, 2, 2) and len(result["energy_i"]) == len(result["s"]) == 7
    assert result["neb"]["converged"] and result["reference"] is None
    assert (tmp_path / "hop.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "hop.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["energy_i_eV"]) for row in rows] == result["energy_i"]


def test_command_beside_the_standin(leopold):
    outcome = leopold("--to", "33", "--images", "5", "--reference", "standin", "--json")
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    reference = result["reference"]
    assert reference["name"] == "standin" and len(reference["energy_i"]) == 5
    apart = 1e3 * np.subtract(result["energy_lower"], reference["energy_lower"])
    assert result["deviation"]["energy_meV"]["largest"] == pytest.approx(np.abs(apart).max())
    text = barrier_report.table(result)
    assert "reference: standin on the same straight line" in text and "model off by at most" in text


def test_command_prints_the_path_of_an_unfinished_search(leopold):
    outcome = leopold("--to", "33", "--images", "6", "--fmax", "0.02", "--steps", "5", "--json")
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert "NOT CONVERGED: largest force" in barrier_report.table(result)
    assert result["barrier_neb_eV"] is None
    assert not result["neb"]["converged"] and len(result["neb"]["s"]) == 6


def test_a_plain_structure_needs_the_site(leopold):
    outcome = leopold("--to", "33", structure="POSCAR")
    assert outcome.exit_code == 1
    assert "does not say where the carrier is (carrier_sites): give its atom with --from" in outcome.output
    outcome = leopold("--to", "33", "--from", "32", "--images", "5", structure="POSCAR")
    assert outcome.exit_code == 0, outcome.output
    assert "hole from O 32 to 33, O-O 2.96 A <110> x12" in outcome.stdout
    assert "diabatic, the moment jumps" in outcome.stdout and "converged in" in outcome.stdout


def test_ends_relaxed_elsewhere_are_joined_as_they_are(leopold, tmp_path, mgo):
    """Ends with one atom off: on the line between them it stays off, the minimum-energy path begins at rest."""
    first, last = ends(TAUGHT, mgo)
    frames, off = [], np.zeros_like(mgo.positions)
    off[np.flatnonzero(~(TAUGHT.push(32) + TAUGHT.push(33)).any(axis=1))[0], 1] = 0.08
    for atoms, site in ((first, 32), (last, 33)):
        positions = atoms.positions + off
        frames.append(Frame(atoms.numbers, positions, atoms.cell.array, carrier="hole", carrier_sites=(site,)))
    write_frames(tmp_path / "ends.h5", frames)
    outcome = leopold("--to", "33", "--ends", "--images", "5", "--json", structure="ends.h5")
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    barrier = reorganisation(TAUGHT) / 4
    assert result["ends"] == "given" and result["energy_i"][2] == pytest.approx(barrier, abs=1e-4)
    assert result["path_length_Angstrom"] == pytest.approx(np.linalg.norm(displacement(first, last)))
    assert result["barrier_neb_eV"] == pytest.approx(barrier, abs=2e-3)
    outcome = leopold("--to", "33", "--ends")
    assert outcome.exit_code == 1 and "start.h5 is 1 frames; give a file (.h5, .xyz) of two" in outcome.output


def test_a_hop_without_a_barrier_is_said_to_machines_too(leopold, tmp_path, mgo):
    """Both ends hold the carrier on atom 32, so that told 33 it has a long way to go."""
    start = relax(TAUGHT, mgo, 32, 1e-6, 100)
    frame = Frame(start.numbers, start.positions, start.cell.array, carrier="hole", carrier_sites=(32,))
    write_frames(tmp_path / "ends.h5", [frame, frame])
    outcome = leopold("--to", "33", "--ends", "--json", structure="ends.h5")
    assert outcome.exit_code == 1 and "so this hop has no barrier on this surface" in outcome.stderr
    told = json.loads(outcome.stdout)
    assert told["status"] == "no_barrier" and "atom 33" in told["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "64"], "--to 64: the structure has atoms 0 to 63"),
        (["--to", "33", "--from", "-1"], "--from -1: the structure has atoms 0 to 63"),
        (["--to", "32"], "--to 32: the carrier is on that atom already"),
        (["--to", "3"], "--to 3 is Mg, but the carrier sits on O (atom 32)"),
    ],
)
def test_wrong_sites_are_named(leopold, arguments, message):
    outcome = leopold(*arguments)
    assert outcome.exit_code == 1
    assert message in outcome.output


def test_missing_structure_is_named(leopold):
    for name in ("none.h5", "none.cif"):
        outcome = leopold("--to", "33", "--from", "32", structure=name)
        assert outcome.exit_code == 1 and name in outcome.output


def test_a_model_of_nearest_images_is_kept_to_its_cell(leopold, monkeypatch):
    header = {"carrier": "hole", "n_carriers": 1, "images": "nearest", "cell": np.diag([9.0] * 3).tolist()}
    monkeypatch.setattr(barrier_command, "load_model", lambda path: random_model().__class__(
        small_spec(), {"embedding": np.zeros(1)}, np.zeros(2), header))  # fmt: skip
    outcome = leopold("--to", "33")
    assert outcome.exit_code == 1
    assert "images: nearest" in outcome.output
