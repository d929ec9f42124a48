"""`workchains.md` against the specs: every port and exit code of every process is in the file, and nothing else is."""

from pathlib import Path

import pytest

from leopold_workflows import contract

DOCUMENT = Path(__file__).resolve().parents[2] / "workchains.md"


@pytest.mark.parametrize("name", contract.PROCESSES)
def test_section_equals_spec(name):
    text = DOCUMENT.read_text()
    assert f"## {name}\n" in text, f"workchains.md has no section on {name}"
    written = text.split(f"<!-- ports of {name} -->", 1)[1].split("<!-- end of ports -->", 1)[0].strip()
    assert written == contract.tables(name), f"run `python -m leopold_workflows.contract` after changing {name}"


def test_every_entry_point_is_documented():
    from importlib.metadata import entry_points

    installed = {
        point.name
        for group in ("aiida.workflows", "aiida.calculations")
        for point in entry_points(group=group)
        if point.name.startswith("leopold.")
    }
    assert installed == set(contract.PROCESSES)


def test_every_exit_code_has_a_family():
    """2xx inputs, 3xx no usable output, 40x sub-process, 41x-44x recoverable, 5xx physics, 6xx not converged."""
    for name in contract.PROCESSES:
        for label, code in contract.process_class(name).spec().exit_codes.items():
            if code.status >= 200:
                assert code.status < 700 or name == "leopold.vasp", (
                    f"{name}: {code.status} {label} is outside the families"
                )
                assert code.message.strip(), f"{name}: {label} has no message"
