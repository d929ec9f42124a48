"""What the queries say of a study, as plain data: in this profile, or `python -m tests.e2e.answers UUID` in another."""

import json
import sys

from aiida.orm import load_node

from leopold_workflows import queries


def answers(uuid: str) -> dict:
    """The answers that must not depend on the profile."""
    study = load_node(uuid)
    return json.loads(json.dumps({
        "vasp runs behind the mobility": sorted(run.uuid for run in queries.vasp_runs(study.outputs.transport)),
        "trainings": [node.uuid for node in queries.trainings(study.outputs.model)],
        "frames of the model": sorted(f.id for f in queries.training_frames(study.outputs.model).get_frames()),
        "errors": queries.errors_by_round(study),
        "failed labels": queries.failed_labels(study),
        "labelled": [label.id for _, label in queries.labelled_hops(study)],
        "node hours": queries.node_hours(study),
        "mobility": study.outputs.transport.get_dict(),
    }))  # fmt: skip


if __name__ == "__main__":
    from aiida import load_profile

    load_profile()
    print(json.dumps(answers(sys.argv[1])))
