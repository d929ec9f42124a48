"""Queries upstream of a node, on graphs made by hand."""

from aiida import orm
from aiida.common.links import LinkType

from leopold_workflows import queries


def step(label, computer, *given):
    """A job that made a number out of `given`."""
    job = orm.CalcJobNode(computer=computer)
    job.set_process_label(label)
    for k, data in enumerate(given):
        job.base.links.add_incoming(data, LinkType.INPUT_CALC, f"given_{k}")
    job.store()
    made = orm.Int(0)
    made.base.links.add_incoming(job, LinkType.CREATE, "made")
    return made.store()


def test_data_that_part_and_are_merged_round_after_round_are_followed_once(aiida_localhost):
    """A study merges what it labelled with what it had, round after round: here 2^25 paths lead to the first run."""
    first = step("LeopoldVaspCalculation", aiida_localhost, orm.Int(1).store())
    a = b = first
    for _ in range(25):
        a, b = step("TrainCalculation", aiida_localhost, a, b), step("MDCalculation", aiida_localhost, a, b)
    stranger = step("TrainCalculation", aiida_localhost, first)
    assert [run.pk for run in queries.vasp_runs(a)] == [first.creator.pk]
    trained = queries.trainings(a)
    assert len(trained) == 25 and a.creator.pk == trained[-1].pk and stranger.creator.pk not in {n.pk for n in trained}
    assert [n.ctime for n in trained] == sorted(n.ctime for n in trained)
    assert queries.vasp_runs(orm.Int(3).store()) == []
