"""Monitor of running dynamics (`leopold.dynamics`): a run whose carrier spread, or that flies apart, is ended early.

Days of a queue are lost on trajectories that no longer hold a small polaron. The monitor looks at the end of OUTCAR
while the job runs. Only the moment tables and temperatures of the last steps leave the computer, cut out there with
`tail` and `sed`; OUTCAR itself may be gigabytes long.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from shlex import quote

import numpy as np
from aiida import orm
from aiida.transports import Transport

from leopold_workflows.vasp.verdict import MAX_PARTICIPATION, sites_per_carrier

ENTRY_POINT = "leopold.dynamics"
TAIL_BYTES = 200_000_000  # what is searched on the computer
_TABLE = re.compile(r"magnetization \(x\)\s*\n(.*?)^tot ", re.DOTALL | re.MULTILINE)
_TEMPERATURE = re.compile(r"\(temperature\s+([\d.]+) K\)")


def dynamics(
    node: orm.CalcJobNode,
    transport: Transport,
    steps: int = 50,
    max_participation: float = MAX_PARTICIPATION,
    max_temperature_factor: float = 4.0,
) -> str | None:
    """Why the run should end, or None: the carrier was spread over more than `max_participation` sites in each of the
    last `steps` steps, or the newest temperature is above `max_temperature_factor` times the highest asked."""
    carrier, parameters = node.inputs.carrier.get_dict(), node.inputs.parameters.get_dict()
    symbols = [site.kind_name for site in node.inputs.structure.sites]
    spread, temperature = last_steps(_end_of_outcar(node, transport, steps * (len(symbols) + 10)), symbols, carrier)
    target = max(parameters.get("tebeg", 0.0), parameters.get("teend", 0.0))
    if temperature is not None and target and temperature > max_temperature_factor * target:
        return f"the temperature reached {temperature:.0f} K, more than {max_temperature_factor:g} times {target:g} K"
    if len(spread) >= steps and min(spread[-steps:]) > max_participation:
        return (
            f"the carrier was spread over {min(spread[-steps:]):.1f} or more sites in the last {steps} steps, limit "
            f"{max_participation:g}"
        )
    return None


def last_steps(text: str, symbols: list[str], carrier: dict) -> tuple[list[float], float | None]:
    """Participation of each complete moment table in `text`, oldest first, and the newest temperature in K."""
    eligible = np.isin(symbols, carrier["species"])
    spread = []
    for table in _TABLE.findall(text):
        rows = table.split("--\n")[1].splitlines()[:-1]  # between two dashed lines, the second without its end
        try:
            moments = np.array([float(row.split()[-1]) for row in rows])
        except (ValueError, IndexError):  # stars; a monitor that raises would pause its job
            continue
        if len(moments) == len(symbols):
            # the spin axis may point either way; the carrier's is the larger part
            spread.append(sites_per_carrier(moments[eligible] * np.sign(moments.sum() or 1.0), carrier["n"]))
    temperatures = _TEMPERATURE.findall(text)
    return spread, float(temperatures[-1]) if temperatures else None


def _end_of_outcar(node: orm.CalcJobNode, transport: Transport, n_lines: int) -> str:
    """Moment tables and temperatures at the end of OUTCAR; empty before there is one."""
    path = quote(str(PurePosixPath(node.get_remote_workdir()) / "OUTCAR"))
    wanted = "-e '/magnetization (x)/,/^tot /p' -e '/(temperature /p'"
    search = f"tail -c {TAIL_BYTES} {path} 2>/dev/null | sed -n {wanted} | tail -n {n_lines}"
    return transport.exec_command_wait(search)[1]
