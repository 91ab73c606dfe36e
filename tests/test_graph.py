import numpy as np
import onnxruntime
import pytest

import fake_voice
from glottis.graph import forget_shapes, shorten, simplified

onnx = pytest.importorskip("onnx")


def speak(model, seed):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ids = np.array([[1, 0, 20, 0, 33, 0, 10, 0, 2]], np.int64)
    return session.run(
        None,
        {
            "input": ids,
            "input_lengths": np.array([ids.size]),
            "scales": np.array([0.667, 1, 0.8], np.float32),
            "sid": np.array([1]),
            "seed": np.array([seed]),
        },
    )


@pytest.fixture
def model():
    return onnx.load(fake_voice.FAKE)


@pytest.mark.parametrize("seed", [0, 9])
def test_what_the_graph_computes_does_not_change(model, seed):
    before = speak(model, seed)
    lean = simplified(model)
    shorten(lean)
    forget_shapes(lean)
    onnx.checker.check_model(lean, full_check=True)
    for ours, theirs in zip(speak(lean, seed), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_inputs_and_properties_stay(model):
    lean = simplified(model)
    shorten(lean)
    assert not any(node.name for node in lean.graph.node)
    assert max(len(name) for node in lean.graph.node for name in node.output) <= len("durations")
    forget_shapes(lean)

    def weights(graph):
        return {
            t.name: onnx.numpy_helper.to_array(t).tobytes()
            for t in graph.initializer
            if np.prod(t.dims) >= 1024
        }

    assert weights(lean.graph) == weights(model.graph)
    assert [v.name for v in lean.graph.input] == [v.name for v in model.graph.input]
    assert [v.name for v in lean.graph.output] == [v.name for v in model.graph.output]
    assert {p.key: p.value for p in lean.metadata_props} == {
        p.key: p.value for p in model.metadata_props
    }
    free = onnxruntime.InferenceSession(lean.SerializeToString()).get_overridable_initializers()
    assert [node.name for node in free] == ["seed", "frames"]


def test_nodes_that_do_nothing_go(model):
    wasteful = onnx.ModelProto()
    wasteful.CopyFrom(model)
    first = wasteful.graph.node[0]
    kept, first.output[0] = first.output[0], "detour"
    wasteful.graph.node.insert(1, onnx.helper.make_node("Identity", ["detour"], [kept]))
    assert len(simplified(wasteful).graph.node) == len(simplified(model).graph.node)


def test_no_dimension_is_followed_any_more(model):
    def ranked(m):
        inferred = onnx.shape_inference.infer_shapes(m, data_prop=True)
        return sum(
            any(not d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
            for v in inferred.graph.value_info
        )

    lean = simplified(model)
    before = ranked(lean)
    forget_shapes(lean)
    assert ranked(lean) < 0.7 * before


def test_names_that_a_branch_may_use_are_left_alone(model):
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["outside"], ["chosen"])], "branch", [], []
    )
    model.graph.node.append(
        onnx.helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)
    )
    before = model.SerializeToString()
    shorten(model)
    assert model.SerializeToString() == before
