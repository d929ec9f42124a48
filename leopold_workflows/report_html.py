"""The report as one HTML file that opens anywhere: text, tables and figures, the settings, codes and versions it rests
on, and the nodes of the provenance graph behind it."""

from __future__ import annotations

import base64
import html
import mimetypes
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import aiida
import yaml
from aiida.common.links import LinkType
from aiida.orm import AbstractCode, BaseType, Dict, List, Node, ProcessNode
from aiida.orm.utils.links import LinkManager
from markdown_it import MarkdownIt

from leopold_model import __version__
from leopold_workflows.process_tree import Process, descendants

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #8884; text-align: left; }
div.wide { overflow-x: auto; }
img { max-width: 100%; background: #fff; }
pre, code { font: 13px/1.4 ui-monospace, monospace; overflow-x: auto; }
summary { cursor: pointer; }
"""


def write(path: Path, process: ProcessNode, markdown: str) -> None:
    """Write the report of `process` to `path`; the figures that its `markdown` names lie beside."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'src="([^":]+)"', lambda found: f'src="{_embedded(path.parent, found[1])}"', body)
    sections = [body, _settings(process), _provenance(process), _versions(process)]
    page = "\n".join(sections).replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    title = html.escape(f"{process.process_label} {process.pk}")
    path.write_text(
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{page}\n</body>\n</html>\n",
        encoding="utf8",
    )


def _embedded(folder: Path, name: str) -> str:
    """The figure `name`, which lies in `folder`; nothing else that a name from a frame or a catalogue may ask for."""
    kind = mimetypes.guess_type(name)[0] or ""
    if Path(name).name != name or not kind.startswith("image/") or not (folder / name).is_file():
        return ""
    return f"data:{kind};base64,{base64.b64encode((folder / name).read_bytes()).decode()}"


def _settings(process: ProcessNode) -> str:
    """Every input that is a number, a text or a mapping."""
    given = _linked(process.base.links.get_incoming(link_type=(LinkType.INPUT_WORK, LinkType.INPUT_CALC)))
    plain = [(name, str(node.value)) for name, node in given if isinstance(node, BaseType)]
    parts = ["<h2>Settings</h2>", _table(("input", "value"), plain)]
    for name, node in given:
        if isinstance(node, Dict | List):
            content = node.get_dict() if isinstance(node, Dict) else node.get_list()
            text = html.escape(yaml.safe_dump(content, allow_unicode=True))
            parts.append(f"<details><summary>{html.escape(name)} ({_named(node)})</summary><pre>{text}</pre></details>")
    return "\n".join(parts)


def _provenance(process: ProcessNode) -> str:
    """What came out and which process made it; every job of the study, by kind."""
    made = _linked(process.base.links.get_outgoing(link_type=(LinkType.RETURN, LinkType.CREATE)))
    rows = [(name, _named(node), _named(node.creator) if node.creator else "") for name, node in made]
    parts = [
        f"<h2>Provenance</h2>\n<p>{_named(process)}. Each of these is shown by <code>verdi node show UUID</code>.</p>",
        _table(("output", "node", "made by"), rows, markup=True),
    ]
    jobs: dict[str, list[Process]] = {}
    for job in descendants(process):
        if job.is_job:
            jobs.setdefault(job.label, []).append(job)
    for label, of_kind in sorted(jobs.items()):
        table = _table(("PK", "exit status"), [(str(job.pk), str(job.exit_status)) for job in of_kind])
        parts.append(f"<details><summary>{len(of_kind)} {html.escape(label)}</summary>{table}</details>")
    return "\n".join(parts)


def _versions(process: ProcessNode) -> str:
    codes = [
        (name, f"{node.full_label}: {getattr(node, 'filepath_executable', '')}")
        for name, node in _linked(process.base.links.get_incoming(link_type=(LinkType.INPUT_WORK, LinkType.INPUT_CALC)))
        if isinstance(node, AbstractCode)
    ]
    versions = [
        ("aiida-leopold", __version__),
        ("aiida-core", aiida.__version__),
        ("Python", platform.python_version()),
    ]
    return "<h2>Codes and versions</h2>\n" + _table(("", ""), [*versions, *codes])


def _linked(links: LinkManager) -> list[tuple[str, Node]]:
    """Name, as a port is written, and node of every link, by name."""
    return sorted(((link.link_label.replace("__", "."), link.node) for link in links.all()), key=lambda row: row[0])


def _named(node: Node) -> str:
    kind = node.process_label if isinstance(node, ProcessNode) else type(node).__name__
    return f"{html.escape(str(kind))} {node.pk} <code>{node.uuid}</code>"


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]], *, markup: bool = False) -> str:
    """`rows` are text, or HTML already (`markup`)."""

    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    body = [line(row if markup else map(html.escape, row), "td") for row in rows]
    return f"<table><thead>{line(map(html.escape, titles), 'th')}</thead><tbody>{''.join(body)}</tbody></table>"
