"""What a study leaves in its profile, round by round: processes, nodes, bytes of the database and of the repository.

    python benchmarks/study_size.py demo/mgo/.aiida

Reads the profile of a demo (SQLite), which holds one study. A round begins with its training; what comes before the
first is `start`, what comes after learning `production`. Bytes of the database are those of the nodes' attributes,
extras and repository tables, to which SQLite adds indices, links and logs (the last lines).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from leopold_workflows.cli import embedded


def files_of(metadata: dict, folder: str = "") -> Iterator[tuple[str, str]]:
    """(hash of the content, path) of every file below a folder of a node's repository."""
    for name, entry in metadata.get("o", {}).items():
        if "k" in entry:
            yield entry["k"], folder + name
        else:
            yield from files_of(entry, f"{folder}{name}/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", type=Path)
    options = parser.parse_args()
    embedded.use(options.profile, print)
    import json

    from aiida import orm

    from leopold_workflows.data.frames import FrameSetData

    def processes(label):
        query = orm.QueryBuilder().append(orm.ProcessNode, filters={"attributes.process_label": label}, project="*")
        return sorted((node for (node,) in query.all()), key=lambda node: node.ctime)

    (learn,) = processes("LearnWorkChain")
    begins = [node.ctime for node in processes("TrainBaseWorkChain")]
    edges = [*begins, learn.mtime]
    stages = ["start", *(f"round {k + 1}" for k in range(len(begins))), "production"]
    counts = {stage: [0, 0, 0, 0, 0] for stage in stages}
    seen = set()
    for (node,) in orm.QueryBuilder().append(orm.Node, project="*").order_by({orm.Node: "ctime"}).iterall():
        row = counts[stages[sum(node.ctime >= edge for edge in edges)]]
        row[0] += isinstance(node, orm.ProcessNode)
        row[1] += 1
        row[2] += len(json.dumps(node.base.attributes.all)) + len(json.dumps(node.base.extras.all))
        row[2] += len(json.dumps(node.base.repository.metadata))
        for key, path in files_of(node.base.repository.metadata):
            row[3] += 0 if key in seen else node.base.repository.get_object_size(path)
            seen.add(key)  # equal content is kept once
        row[4] += node.base.attributes.get("n_frames", 0) if isinstance(node, FrameSetData) else 0
    print(f"{'':12s} processes  nodes  database kB  repository kB  frames in new sets")
    for stage, (n, nodes, database, repository, frames) in counts.items():
        print(f"{stage:12s} {n:9d} {nodes:6d} {database / 1e3:12.0f} {repository / 1e3:14.0f} {frames:19d}")
    (database,) = options.profile.rglob("database.sqlite")
    files = [path for path in (database.parent / "container").rglob("*") if path.is_file()]
    print(f"files: database {database.stat().st_size / 1e6:.1f} MB, repository", end=" ")
    print(f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
