"""Whole runs: dynamics in segments, relaxation, occupation control, restarts, stops and failures on request."""

from __future__ import annotations

import re
import shutil
import signal

import numpy as np
import pytest
from ase.io import read

from leopold_model.standin.failures import Failures
from leopold_model.standin.vasp_input import InputError
from leopold_model.vasp.occmatrix import carrier_orbital, orbital_share
from leopold_model.vasp.outcar import stream_outcar
from leopold_model.vasp.run import Run
from tests.standin.standin_case import MD, MGO, TIO2, command, crystal, here, prepare

SITE = 40
OCC = {"OCCEXT": 1}
RELAX = {"IBRION": 2, "NSW": 60, "EDIFFG": -0.02, "LDAUPRINT": 1}


def energies(folder):
    return np.array(re.findall(r"free  energy   TOTEN  =\s+(\S+)", (folder / "OUTCAR").read_text()), dtype=float)


def conserved(folder):
    return np.array(re.findall(r"total energy   ETOTAL =\s+(\S+)", (folder / "OUTCAR").read_text()), dtype=float)


def site_of(folder, index=-1):
    return int(read(folder / "OUTCAR", index=index).get_magnetic_moments().argmax())


def continue_from(source, target, **changes):
    """The next segment: CONTCAR, WAVECAR and the same tags."""
    target.mkdir()
    for name in ("INCAR", "KPOINTS", "POTCAR", "WAVECAR"):
        shutil.copy(source / name, target / name)
    shutil.copy(source / "CONTCAR", target / "POSCAR")
    kept = [x for x in (target / "INCAR").read_text().splitlines() if x.split(" = ")[0] not in changes]
    (target / "INCAR").write_text(
        "\n".join([*kept, *(f"{k} = {v}" for k, v in changes.items() if v is not None)]) + "\n"
    )
    return target


def write_occmatrix(folder, atom, l, up, down):  # noqa: E741
    rows = ["1", f"{atom + 1} {l} 2"]
    for matrix in (up, down):
        rows += ["spin component", *(" ".join(f"{x:8.4f}" for x in row) for row in matrix)]
    (folder / "OCCMATRIX").write_text("\n".join(rows) + "\n\n")


def impose_hole(folder, atom=SITE):
    up = np.eye(3) * 0.6
    write_occmatrix(folder, atom, 1, up, up - np.diag([0.0, 0.55, 0.0]))


@pytest.fixture(scope="module")
def nve(tmp_path_factory):
    """60 fs of NVE at 300 K with the hole on one site, in one run."""
    folder = tmp_path_factory.mktemp("nve") / "long"
    tags = {**MGO, **MD, "NSW": 60, "SMASS": -3, "EDIFF": "1E-8", "LDAUPRINT": 0}
    here(prepare(folder, crystal("mgo", around=SITE), tags, SITE))
    return folder


def test_nve_conserves_energy_on_one_branch(nve, tmp_path):
    """What Verlet's total energy moves by is its own error: a quarter at half the time step."""
    tags = (nve / "INCAR").read_text().replace("POTIM = 1.0", "POTIM = 0.5").replace("NSW = 60", "NSW = 120")
    half = prepare(tmp_path, crystal("mgo", around=SITE), {}, SITE)
    (half / "INCAR").write_text(tags)
    here(half)
    assert {site_of(f, k) for f in (nve, half) for k in (0, -1)} == {SITE}, "the check needs runs without a hop"
    coarse, fine = (np.ptp(conserved(f)) / 64 for f in (nve, half))
    assert coarse < 1e-4, f"total energy moves by {coarse * 1e3:.4f} meV/atom"
    assert coarse / fine == pytest.approx(4.0, rel=0.15)
    assert np.ptp(energies(nve)) / 64 > 20 * coarse, "kinetic and potential energy must exchange"


def test_two_segments_equal_one_run(nve, tmp_path):
    first = prepare(tmp_path / "1", crystal("mgo", around=SITE), {}, SITE)
    incar = (nve / "INCAR").read_text()
    (first / "INCAR").write_text(incar.replace("NSW = 60", "NSW = 25"))
    here(first)
    second = continue_from(first, tmp_path / "2", NSW=35, MAGMOM=None)
    here(second)
    chained = np.concatenate([energies(first), energies(second)])
    assert np.abs(chained - energies(nve)).max() < 5e-8, "energies of the chain differ beyond the printed digits"
    assert np.abs(np.concatenate([conserved(first), conserved(second)]) - conserved(nve)).max() < 2.1e-6
    long, end = (read(f / "CONTCAR") for f in (nve, second))
    assert np.abs(long.positions - end.positions).max() < 1e-8


def test_the_same_input_gives_the_same_run_and_another_seed_another(tmp_path):
    tags = {**MGO, **MD, "NSW": 5, "MDALGO": 3, "LANGEVIN_GAMMA": "5 5", "LDAUPRINT": 0}
    atoms = crystal("mgo", (1, 1, 2))
    runs = {}
    for name, extra in {"a": {}, "b": {}, "c": {"RANDOM_SEED": "1 2 3"}}.items():
        folder = prepare(tmp_path / name, atoms, {**tags, **extra})
        here(folder)
        runs[name] = (folder / "XDATCAR").read_text()
    assert runs["a"] == runs["b"] != runs["c"]


def test_zero_velocities_are_none(tmp_path):
    folder = prepare(tmp_path, crystal("mgo", (1, 1, 2)), {**MGO, **MD, "NSW": 1, "LDAUPRINT": 0})
    poscar = (folder / "POSCAR").read_text()
    (folder / "POSCAR").write_text(poscar.rstrip("\n") + "\n\n" + "  0.0E+00  0.0E+00  0.0E+00\n" * 16)
    here(folder)
    assert "(temperature  300.00 K)" in (folder / "OUTCAR").read_text()


def test_relaxation_ends_below_ediffg_and_says_so(tmp_path):
    here(prepare(tmp_path, crystal("mgo", around=SITE), {**MGO, **RELAX}, SITE))
    text = (tmp_path / "OUTCAR").read_text()
    frames = read(tmp_path / "OUTCAR", index=":")
    assert "reached required accuracy" in text and 3 < len(frames) < 60
    assert np.linalg.norm(frames[-1].get_forces(), axis=1).max() < 0.02
    assert energies(tmp_path)[-1] < energies(tmp_path)[0]
    assert site_of(tmp_path) == SITE
    contcar = read(tmp_path / "CONTCAR")
    assert np.abs(contcar.get_scaled_positions() - frames[-1].get_scaled_positions()).max() < 2e-6


@pytest.mark.parametrize(("name", "site"), [("mgo", SITE), ("tio2", 9)])
def test_occupation_control_places_the_carrier_and_release_keeps_it(tmp_path, name, site):
    """From the pristine crystal, where MAGMOM alone gives the delocalised state."""
    case = MGO if name == "mgo" else TIO2
    atoms = crystal(name, (2, 2, 2) if name == "mgo" else (2, 2, 3), rattle=0.0)
    seeded = prepare(tmp_path / "seeded", atoms, case, site)
    here(seeded)
    assert read(seeded / "OUTCAR").get_magnetic_moments().max() < 0.5
    held = prepare(tmp_path / "held", atoms, {**case, **RELAX, **OCC})
    if name == "mgo":
        impose_hole(held, site)
    else:
        write_occmatrix(held, site, 2, np.diag([0.0, 1, 0, 0, 0]), np.zeros((5, 5)))
    here(held)
    banner = (held / "OUTCAR").read_text().split("POSCAR:")[0]
    assert "OCCEXT found - reading occupation matrix from external file OCCMATRIX" in banner
    assert re.search(rf" ATOM +{site + 1} +Spin +1", banner)
    assert site_of(held) == site
    released = continue_from(held, tmp_path / "released", OCCEXT=None)
    here(released)
    banner = (released / "OUTCAR").read_text().split("POSCAR:")[0]
    assert "Occupation set for the following atoms" in banner and "ATOM" not in banner and "found" not in banner
    moments = read(released / "OUTCAR").get_magnetic_moments()
    assert moments.argmax() == site and moments[site] > 0.5
    assert energies(held)[-1] < energies(released)[-1] - 0.5, "the hold lowers the energy of the constrained run"
    assert energies(released)[-1] < energies(seeded)[-1], "the polaron is bound"


@pytest.mark.parametrize(("defect", "carriers"), [("vacancy", 2), ("fluorine", 1)])
def test_defects_donate_their_electrons(tmp_path, defect, carriers):
    """With NELECT left to its default, the sum of the valences."""
    atoms, site = crystal("tio2", (2, 2, 2), around=9), 9
    tags = {**TIO2, "NELECT": None}
    if defect == "vacancy":
        del atoms[-1]
    else:
        atoms.symbols[-1] = "F"
        tags |= {"LDAUL": "2 -1 -1", "LDAUU": "4 0 0", "LDAUJ": "0 0 0"}
    here(prepare(tmp_path, atoms, {**tags, "IBRION": 2, "NSW": 40, "EDIFFG": -0.05, "LDAUPRINT": 1}, site))
    frame = read(tmp_path / "OUTCAR")
    assert frame.get_magnetic_moment() == carriers
    titanium = np.sort(frame.get_magnetic_moments()[:16])[::-1]
    assert titanium[carriers - 1] > 0.4 > titanium[carriers], f"moments {titanium[:4]}"
    assert "reached required accuracy" in (tmp_path / "OUTCAR").read_text()


def test_imposed_matrices_are_printed_back(tmp_path):
    folder = prepare(tmp_path, crystal("mgo"), {**MGO, **OCC})
    impose_hole(folder)
    here(folder)
    block = (folder / "OUTCAR").read_text().split(f"atom = {SITE + 1:3d} ")[-1].split("occupancies")[0]
    rows = [[float(x) for x in line.split()] for line in block.splitlines() if re.match(r"( +-?\d\.\d{4}){3}$", line)]
    assert np.allclose(rows[3:], np.diag([0.6, 0.05, 0.6]))


def test_occdir_imposes_as_occext_does(tmp_path):
    atoms = crystal("tio2", (2, 2, 2), rattle=0.0)
    tags = {**TIO2, "OCCDIR1": "1 5 2 1 6 6 1 1.0"}
    here(prepare(tmp_path, atoms, tags))
    text = (tmp_path / "OUTCAR").read_text()
    assert " OCCDIR1   found " in text and re.search(r" ATOM +5 +Spin +2", text)
    assert site_of(tmp_path) == 4 and read(tmp_path / "OUTCAR").get_magnetic_moments()[4] > 0.7


def test_unpatched_binary_ignores_occupation_control_silently(tmp_path):
    folder = prepare(tmp_path, crystal("mgo", rattle=0.0), {**MGO, **OCC})
    impose_hole(folder)
    done = command(folder, LEOPOLD_STANDIN_UNPATCHED="1")
    text = (folder / "OUTCAR").read_text()
    assert done.returncode == 0 and "Occupation" not in text and "OCCEXT found" not in text
    assert read(folder / "OUTCAR").get_magnetic_moments().max() < 0.5


def test_the_command_runs_and_prints_like_vasp(tmp_path):
    done = command(prepare(tmp_path, crystal("mgo", (1, 1, 2)), {**MGO, **MD, "NSW": 2}))
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[1].startswith(" vasp.6.4.3 leopold-vasp-standin")
    assert re.search(r"^ +2 T= +\d+\. E= ", done.stdout, re.MULTILINE)
    expected = {"OUTCAR", "vasprun.xml", "OSZICAR", "CONTCAR", "XDATCAR", "WAVECAR", "CHGCAR"}
    assert expected <= {p.name for p in tmp_path.iterdir()}


def test_the_command_refuses_on_stderr_with_a_code(tmp_path):
    done = command(prepare(tmp_path, crystal("mgo", (1, 1, 1)), {**MGO, "NELECT": 70}))
    assert done.returncode == 1 and done.stderr.startswith(" ERROR: INCAR: NELECT = 70")
    assert "Traceback" not in done.stderr


def test_a_foreign_wavecar_is_refused_and_istart_zero_ignores_it(tmp_path):
    folder = prepare(tmp_path, crystal("mgo", (1, 1, 2)), MGO)
    (folder / "WAVECAR").write_bytes(b"\x00\x01 some plane waves")
    with pytest.raises(InputError, match="WAVECAR was not written by this stand-in"):
        here(folder)
    incar = (folder / "INCAR").read_text()
    (folder / "INCAR").write_text(incar + "ISTART = 0\n")
    here(folder)
    (folder / "INCAR").write_text(incar)
    here(folder)
    bigger = prepare(tmp_path / "bigger", crystal("mgo", (1, 2, 2)), MGO)
    shutil.copy(folder / "WAVECAR", bigger / "WAVECAR")
    with pytest.raises(InputError, match="8 carrier sites, POSCAR has 16"):
        here(bigger)


def test_stopcar_ends_after_the_step(tmp_path):
    folder = prepare(tmp_path, crystal("mgo", (1, 1, 2)), {**MGO, **MD, "NSW": 50})
    (folder / "STOPCAR").write_text("LSTOP = .TRUE.\n")
    here(folder)
    text = (folder / "OUTCAR").read_text()
    assert len(energies(folder)) == 1 and "soft stop" in text and "General timing" in text
    assert (folder / "WAVECAR").is_file()


def failing(folder, kind, **tags):
    prepare(folder, crystal("mgo", around=SITE), {**MGO, **MD, "NSW": 6, "LDAUPRINT": 1, **tags}, SITE)
    return command(folder, LEOPOLD_STANDIN_FAIL=kind)


def test_failure_crash_leaves_a_header_and_no_contcar(tmp_path):
    done = failing(tmp_path, "crash")
    assert done.returncode == 1 and "ZPOTRF" in done.stderr
    assert "Iteration" not in (tmp_path / "OUTCAR").read_text() and not (tmp_path / "CONTCAR").exists()


def test_failure_kill_cuts_the_moment_table(tmp_path):
    done = failing(tmp_path, "kill@4")
    assert done.returncode == -signal.SIGKILL
    text = (tmp_path / "OUTCAR").read_text()
    assert text.count("free  energy   TOTEN") == 3 and text.count("magnetization (x)") == 4
    assert 10 < len(text.split("magnetization (x)")[-1].splitlines()) < 60
    assert "General timing" not in text and "</modeling>" not in (tmp_path / "vasprun.xml").read_text()
    assert len(read(tmp_path / "OUTCAR", index=":")) == 3
    assert not (tmp_path / "WAVECAR").exists() and read(tmp_path / "CONTCAR").get_velocities().any()


def test_failure_truncate_ends_inside_the_forces(tmp_path):
    done = failing(tmp_path, "truncate@5")
    assert done.returncode == 0
    text = (tmp_path / "OUTCAR").read_text()
    assert text.count("free  energy   TOTEN") == 4
    assert 5 < len(text.split("TOTAL-FORCE")[-1].splitlines()) < 64


def test_failure_nelm_is_reported_as_vasp_6_reports_it(tmp_path):
    failing(tmp_path, "nelm@2", NELM=30)
    steps = (tmp_path / "OUTCAR").read_text().split("Ionic step ")[1:]
    assert ["not reached (unconverged)" in step for step in steps] == [False, True, False, False, False, False]
    assert steps[1].count("Iteration") == 30


def test_too_small_nelm_is_unconverged_without_any_request(tmp_path):
    here(prepare(tmp_path, crystal("mgo", around=SITE), {**MGO, "NELM": 3}, SITE))
    assert "EDIFF was not reached (unconverged)" in (tmp_path / "OUTCAR").read_text()


def test_failure_moved_puts_the_carrier_far_away(tmp_path):
    failing(tmp_path, "moved@3", **RELAX)
    assert site_of(tmp_path, 1) == SITE != site_of(tmp_path)
    frame = read(tmp_path / "OUTCAR")
    assert frame.get_magnetic_moments().max() > 0.5
    assert frame.get_distance(SITE, site_of(tmp_path), mic=True) > 6.0


def test_failure_delocalised_spreads_the_carrier(tmp_path):
    failing(tmp_path, "delocalised@4")
    frames = read(tmp_path / "OUTCAR", index=":")
    assert frames[2].get_magnetic_moments().max() > 0.5 > frames[3].get_magnetic_moments().max()


def test_failure_orbital_puts_the_spin_in_another_one(tmp_path):
    failing(tmp_path, "orbital@4")
    steps = [step.onsite[SITE] for step in stream_outcar(tmp_path / "OUTCAR", Run())]
    orbital = carrier_orbital(*steps[2][1:])[0]
    before, after = (orbital_share(orbital, *shell[1:]) for shell in steps[2:4])
    assert before == pytest.approx(1.0) and after < 0.1
    assert np.trace(steps[3][1] - steps[3][2]) > 0.5


def test_failure_glued_makes_columns_touch(tmp_path):
    failing(tmp_path, "glued@2")
    text = (tmp_path / "OUTCAR").read_text()
    assert text.count(" -7.9985 11.2215-13.7153") >= 1
    assert "11.2215-13.7153" in text.split("Ionic step ")[2] and "11.2215" not in text.split("Ionic step ")[1]


def test_failures_can_strike_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LEOPOLD_STANDIN_FAIL", "kill, nelm@2")
    monkeypatch.setenv("LEOPOLD_STANDIN_FAIL_ONCE", str(tmp_path / "struck"))
    first, second = Failures.from_environment(7), Failures.from_environment(7)
    assert first.at("kill", 4) and first.at("nelm", 2) and not first.at("nelm", 1)
    assert not any(second.at(kind, step) for kind in ("kill", "nelm") for step in range(1, 8))


def test_unknown_failures_are_named(monkeypatch):
    monkeypatch.setenv("LEOPOLD_STANDIN_FAIL", "explode")
    with pytest.raises(InputError, match="'explode'"):
        Failures.from_environment(1)
