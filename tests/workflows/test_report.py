"""The report of a study, on nodes made by the functions that make them in a study."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from aiida import orm
from aiida.common.links import LinkType
from plumpy import ProcessState
from rich.console import Console

from leopold_model import __version__
from leopold_model.standin.crystals import ideal_cell
from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.calculations.functions_transport import transport_of
from leopold_workflows.report import markdown, summary, write_report
from leopold_workflows.report_html import write
from tests.browser import needs_browser, seen
from tests.unrendered import coarse, unrendered  # noqa: F401
from tests.workflows.finished_study import study

pytestmark = pytest.mark.usefixtures("unrendered")


def written(process, folder, **kwargs):
    """summary.json and report.md as `write_report` leaves them in `folder`."""
    write_report(process, folder, Console(file=io.StringIO()), **kwargs)
    return json.loads((folder / "summary.json").read_text()), (folder / "report.md").read_text()


def test_summary_of_a_finished_study(learned, make_model, tmp_path):
    process = study(model=make_model().store(), **learned)
    data, _ = written(process, tmp_path, wall_time_s=90.0)
    assert (data["state"], data["exit_status"], data["rounds"], data["pk"]) == ("Finished [0]", 0, 2, process.pk)
    assert data["wall_time_s"] == 90.0 and data["uuid"] == process.uuid
    total = len(learned["selected"])
    assert data["labels"]["moved"] == 1 and data["labels"]["verified"] == total - 1
    assert [set(p) for p in data["pathways"]] == [{"name", "hops", "verified_labels"}] * len(data["pathways"])
    assert sum(p["hops"] for p in data["pathways"]) == 5
    assert sum(p["verified_labels"] for p in data["pathways"]) == total - 1
    assert not {p["name"] for p in data["pathways"]} & set(data["unseen_pathways"])
    first, second = data["errors"]
    assert first["n_frames"]["train"] == 3 and first["new_labels"]["forces"] == pytest.approx(0.4)
    assert first["test"]["forces"]["rmse"] == pytest.approx(0.1) and "test" not in second
    assert [m["temperature_K"] for m in data["mobility"]] == [600.0, 900.0]
    for found in data["mobility"]:
        assert found["low"] <= found["value"] <= found["high"] and found["unit"] == "cm^2/(V s)"
    assert sum(m["n_hops"] for m in data["mobility"]) == 5
    assert data["convergence"]["round"] == 2
    assert (tmp_path / "model.leopold").is_file()


def test_report_of_a_finished_study(learned, tmp_path):
    data, text = written(study(**learned), tmp_path, wall_time_s=90.0)
    assert f"# PolaronDynamicsWorkChain {data['pk']}: Finished [0], 1.5 min" in text
    assert "2 learning rounds; labels: " in text and "1 moved" in text and "0 failed" not in text
    for p in data["pathways"]:
        assert f"| {p['name']} | {p['hops']} | {p['verified_labels']} |" in text
    assert "| 1 | 3 | 100.0 | 0.0200 | 100.0 % | 400.0 | 100.0 % |" in text
    assert "| 2 |  |  |  |  | 100.0 | 100.0 % |" in text, "not trained in this round, but measured on hop frames"
    assert "| hops | 5 | at least 20 | not met | with the newest model |" in text and "| labels_per_class |" in text
    rates = learned["transport"]["temperatures"][0]["rates"]
    name, rate = next((name, rate) for name, rate in rates.items() if rate["count"])
    low, high = rate["interval_per_ps"]
    shown = next(line for line in text.splitlines() if line.startswith(f"| 600 | {name} | {rate['count']} | "))
    numbers = [float(x) for x in re.findall(r"[\d.]+", shown.split(" | ")[3])]
    assert numbers == pytest.approx([rate["rate_per_ps"], low, high], rel=0.05)
    for m in data["mobility"]:
        assert f"| {m['temperature_K']:.0f} | {m['value']:.1e} ({m['low']:.1e} to {m['high']:.1e}) | " in text
    fit = learned["transport"]["arrhenius"]["energy_eV"]
    assert f"Activation energy: {fit['value']:.3f} ({fit['low']:.3f} to {fit['high']:.3f}) eV from ln D" in text
    assert "A hop is a stay of at least 50 fs." in text
    unverified = ", ".join(learned["transport"]["unverified_pathways"] or ())
    assert (f"Seen in production without a verified label: {unverified}." in text) == bool(unverified)
    figures = ("pathways", "learning_curve", "moments", "directions", "rates", "mobility", "hop", "provenance")
    assert all(f"]({name}.png)" in text and (tmp_path / f"{name}.png").is_file() for name in figures)


def test_a_report_says_what_was_studied_and_whether_it_is_dft(learned, aiida_localhost, tmp_path):
    """A table of mobilities that travels must not pass for first principles."""
    carrier = orm.Dict({"kind": "hole", "n": 2, "species": ["O"]})
    for program, said in (("leopold-vasp-standin", True), ("vasp_std", False)):
        code = orm.InstalledCode(label=program, computer=aiida_localhost, filepath_executable=f"/opt/{program}")
        given = {
            "host": orm.StructureData(ase=ideal_cell("mgo", (2, 2, 2))),
            "seed__carrier": carrier,
            "learn__label__vasp__code": code,
        }
        data, text = written(study(given=given, **learned), tmp_path)
        assert "Mg32O32, 64 atoms, 2 holes on O." in text and data["of"] in text
        assert ("no numbers of DFT" in text) == said


def test_every_table_row_has_the_cells_of_its_head(learned):
    process = study(**learned)
    data = summary(process)
    width = 0
    for line in markdown(data, learned["transport"].get_dict(), {}).splitlines():
        if line.startswith("|"):
            width = width or line.count("|")
            assert line.count("|") == width, line
        else:
            width = 0


def test_a_study_that_failed_early_has_a_report_too(tmp_path):
    data, text = written(study(403, "the seed failed with exit status 501: spread"), tmp_path)
    assert data["state"] == "Finished [403]" and data["exit_status"] == 403
    assert data["exit_message"] in text and "spread" in text
    assert (data["rounds"], data["labels"], data["pathways"], data["errors"], data["mobility"]) == (0, {}, [], [], [])
    assert data["wall_time_s"] is None and "labels: none" in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["provenance.png"]


@pytest.mark.parametrize("state", [ProcessState.EXCEPTED, ProcessState.KILLED])
def test_a_study_without_exit_status_has_a_report_too(tmp_path, state):
    data, text = written(study(state=state), tmp_path)
    assert data["state"] == state.value.capitalize() and data["exit_status"] is None and data["state"] in text


def test_production_without_a_hop_is_reported(make_track, host, sites, tmp_path):
    catalogue = catalogue_of(make_track([sites[0]]), host, orm.Dict({"species": "O", "cutoff": 5.0}), orm.Str("run"))
    transport = transport_of(catalogue, orm.Dict({"n_bootstrap": 50}), orm.Int(1))
    data, text = written(study(602, "too few hops", transport=transport, catalogue=catalogue), tmp_path)
    assert data["mobility"][0]["value"] == 0.0 < data["mobility"][0]["high"] and data["mobility"][0]["n_hops"] == 0
    assert data["pathways"] == [] and len(data["unseen_pathways"]) == len(catalogue.pathways)
    assert "| 600 | 0.0e+00 (" in text and "needs hops at two temperatures" in text


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.refers, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.refers += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_holds_all_it_needs(learned, make_model, tmp_path):
    """Opened from anywhere, without a network: figures inside, settings, nodes, versions; no markup from the data."""
    process = study(603, "<script>alert(1)</script>", model=make_model().store(), **learned)
    _, text = written(process, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert len(page.refers) == text.count("![") > 2
    assert all(link.startswith("data:image/") for link in page.refers)
    assert "script" not in page.tags and "<script>alert(1)</script>" in "".join(page.words)
    words = " ".join(page.words)
    for expected in ("Settings", "Provenance", "Codes and versions", "Why learning stopped", __version__, process.uuid):
        assert expected in words
    for node in learned.values():
        assert node.uuid in words, "every output is named"


def test_the_page_takes_in_figures_that_lie_beside_it_and_nothing_else(tmp_path):
    """A pathway of a stranger's catalogue may be called anything."""
    process = orm.WorkChainNode()
    process.set_process_label("LearnWorkChain")
    process.store()
    (tmp_path / "report").mkdir()
    for name in ("secret.png", "secret.txt", "report/figure.png", "report/notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    names = ("../secret.png", "../secret.txt", f"{tmp_path}/secret.png", "notes.txt", "absent.png", "figure.png")
    write(tmp_path / "report" / "report.html", process, "\n".join(f"![a]({name})" for name in names))
    page = Page((tmp_path / "report" / "report.html").read_text())
    held = base64.b64encode(b"report/figure.png").decode()
    assert page.refers == ["", "", "", "", "", f"data:image/png;base64,{held}"]


def test_settings_of_the_page_are_the_inputs(tmp_path, learned):
    process = orm.WorkChainNode()
    process.set_process_label("LearnWorkChain")
    process.base.links.add_incoming(orm.Dict({"max_rounds": 7}).store(), LinkType.INPUT_WORK, "learn__settings")
    process.base.links.add_incoming(orm.Int(11).store(), LinkType.INPUT_WORK, "seed")
    process.store()
    write(tmp_path / "report.html", process, "# A report")
    words = Page((tmp_path / "report.html").read_text()).words
    assert "max_rounds: 7\n" in words and {"seed", "11"} <= set(words)
    assert any(word.startswith("learn.settings (Dict") for word in words)


@needs_browser
def test_the_page_opens_offline_with_every_figure(learned, make_model, tmp_path, monkeypatch, request):
    """In a real browser: every figure drawn, nothing asked for, no word on the console, nothing wider than it."""
    monkeypatch.undo()
    request.getfixturevalue("coarse")
    process = study(model=make_model().store(), **learned)
    _, text = written(process, tmp_path)
    (tmp_path / "alone").mkdir()
    page = (tmp_path / "report.html").rename(tmp_path / "alone" / "report.html")  # away from the figures beside it
    found = seen(page, tmp_path)
    assert found["title"] == f"PolaronDynamicsWorkChain {process.pk}"
    assert len(found["images"]) == text.count("![") > 5 and min(found["images"]) > 50
    assert all(name.startswith("data:") for name in found["loaded"]), found["loaded"]
    assert found["errors"] == [] and found["wide"] <= 0
