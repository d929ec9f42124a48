"""The picture of a study: calculations are grouped by kind and stage, production apart from the seed."""

from aiida import orm
from aiida.common.links import LinkType

from leopold_workflows.provenance import collapsed_graph, draw


def call(caller, label, link="CALL", inputs=(), makes=1):
    """A process called `label` below `caller` that took `inputs` and, when a calculation, made `makes` data nodes."""
    work = label.endswith("WorkChain")
    node = orm.WorkChainNode() if work else orm.CalcFunctionNode()
    node.set_process_label(label)
    if caller is not None:
        kind = LinkType.CALL_WORK if work else LinkType.CALL_CALC
        node.base.links.add_incoming(caller, link_type=kind, link_label=link)
    for k, data in enumerate(inputs):
        node.base.links.add_incoming(data, link_type=LinkType.INPUT_CALC, link_label=f"input_{k}")
    node.store()
    if work:
        return node
    made = [orm.Int(k) for k in range(makes)]
    for k, data in enumerate(made):
        data.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=f"output_{k}")
        data.store()
    return made


def study():
    """Seed, two rounds of which the second trains nothing, production; and the boxes they should give."""
    root = call(None, "PolaronDynamicsWorkChain")
    seed = call(root, "SeedWorkChain", "seed")
    frames = [call(seed, "LeopoldVaspCalculation")[0] for _ in range(3)]
    thinned = call(seed, "thin_runs", inputs=frames)
    learn = call(root, "LearnWorkChain", "learn")
    model = call(call(learn, "TrainBaseWorkChain", "round_01_train"), "TrainCalculation", "iteration_01", thinned)
    for name in ("round_01_explore", "round_02_explore"):
        explore = call(learn, "ExploreWorkChain", name)
        track = call(call(explore, "MDBaseWorkChain"), "MDCalculation", "iteration_01", model)
        call(explore, "catalogue_of", inputs=track)
        call(learn, "assess")
    transport = call(root, "TransportWorkChain", "transport")
    track = call(call(transport, "MDBaseWorkChain"), "MDCalculation", "iteration_01", model)
    call(transport, "transport_of", inputs=call(transport, "catalogue_of", inputs=track))
    return root


def test_every_stage_has_its_own_boxes_in_the_order_it_began():
    boxes, arrows = collapsed_graph(study())
    assert boxes == {
        ("LeopoldVaspCalculation", "seed"): 3,
        ("thin_runs", "seed"): 1,
        ("TrainCalculation", "round 1"): 1,
        **{(kind, f"round {k}"): 1 for k in (1, 2) for kind in ("MDCalculation", "catalogue_of", "assess")},
        **{(kind, "production"): 1 for kind in ("MDCalculation", "catalogue_of", "transport_of")},
    }
    assert list(dict.fromkeys(stage for _, stage in boxes)) == ["seed", "round 1", "round 2", "production"]
    assert arrows[("LeopoldVaspCalculation", "seed"), ("thin_runs", "seed")] == 3
    assert arrows[("TrainCalculation", "round 1"), ("MDCalculation", "production")] == 1


def test_the_picture_is_drawn_even_of_a_study_that_did_nothing(tmp_path):
    for name, process in (("full", study()), ("empty", call(None, "PolaronDynamicsWorkChain"))):
        draw(process, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
