"""The ONNX engine stepped by hand: company changes no answer, and every request gets its own."""

import numpy as np
import pytest

from edge_node.engines import Embed, Embedded, Finished, Generate, Infer, Refused, Score
from edge_node.errors import EngineFailedError, PromptTooLongError, RequestInvalidError
from tests.onnx_writer import adder, classifier, company, cross_encoder, echo, embedder

TEXTS = ("one", "two two", "three three three one", "good bad one two", "bad")


def run_sizes(engine, monkeypatch):
    """How many rows each run of the session has had."""
    sizes = []
    session = engine.engine._session
    native = session.run

    def run(feeds, outputs):
        sizes.append(len(next(iter(feeds.values()))))
        return native(feeds, outputs)

    monkeypatch.setattr(session, "run", run)
    return sizes


def test_what_waits_together_is_computed_together_and_nobody_can_tell(load, monkeypatch):
    engine = load(embedder(), text=True)
    assert engine.ready.abilities == ("embedding", "tensors")
    assert (engine.ready.batches, engine.ready.slots, engine.ready.embedding_dims) == (True, 32, 4)
    alone = [engine.embed([text])[0] for text in TEXTS]
    sizes = run_sizes(engine, monkeypatch)
    together = engine.embed(*([text] for text in TEXTS))
    assert sizes == [5]
    assert np.allclose(np.vstack(together), np.vstack(alone), atol=1e-6)


def test_a_model_that_takes_one_scale_for_all_is_found_out_and_kept_apart(load, monkeypatch):
    engine = load(embedder(quantizes=True), text=True)
    assert engine.engine.deviation > 1e-3
    assert (engine.ready.batches, engine.ready.slots) == (False, 1)
    alone = engine.embed(["two two"])[0]
    sizes = run_sizes(engine, monkeypatch)
    with_neighbour, _ = engine.embed(["two two"], ["three three"])
    assert sizes == [1, 1]
    assert np.array_equal(with_neighbour, alone)


def test_fast_batches_such_a_model_all_the_same(load):
    engine = load(embedder(quantizes=True), text=True, spec={"batching": "fast"})
    assert engine.ready.batches
    alone = engine.embed(["two two"])[0]
    with_neighbour, _ = engine.embed(["two two"], ["three three"])
    assert not np.array_equal(with_neighbour, alone)


def test_off_keeps_requests_apart(load, monkeypatch):
    engine = load(embedder(), text=True, spec={"batching": "off"})
    sizes = run_sizes(engine, monkeypatch)
    engine.embed(["one", "two"], ["two"])
    assert sorted(sizes) == [1, 2]


@pytest.mark.parametrize("threads_count", [1, 3])
def test_large_and_small_requests_all_get_their_own(load, threads_count):
    engine = load(embedder(), text=True, spec={"threads_count": threads_count})
    requests = [[TEXTS[(index + step) % 5] for step in range(1 + index * 13 % 90)] for index in range(25)]
    expected = {text: engine.embed([text])[0][0] for text in TEXTS}
    for texts, vectors in zip(requests, engine.embed(*requests), strict=True):
        assert np.allclose(vectors, [expected[text] for text in texts], atol=1e-6)


def test_times_and_tokens_are_told(load):
    engine = load(embedder(), text=True)
    name = engine.submit(Embed, inputs=("one two", "three"))
    event = engine.finish()[name]
    assert event.prompt_tokens == 7
    assert event.service_s >= event.compute_s > 0


def test_a_small_request_is_answered_before_a_large_one_that_came_first(load):
    engine = load(embedder(), text=True)
    large = engine.submit(Embed, inputs=("one two three",) * 300)
    small = engine.submit(Embed, inputs=("one",))
    order = []
    while engine.engine.busy:
        order += [event.request_id for event in engine.engine.step()]
    assert order == [small, large]


def test_vectors_are_cut_only_where_the_model_was_made_for_it(load):
    engine = load(embedder(), text=True, is_matryoshka=True, matryoshka_dimensions=[2, 4, 900])
    assert (engine.ready.shorter_dims, engine.ready.any_shorter_dims) == ((2,), False)
    (whole,), (cut,) = engine.embed(["one"]), engine.embed(["one"], dims=2)
    assert cut.shape == (1, 2)
    assert np.allclose(cut[0], whole[0, :2] / np.linalg.norm(whole[0, :2]), atol=1e-6)


def test_texts_are_cut_where_that_is_asked_for(load):
    engine = load(embedder(), text=True, max_position_embeddings=5)
    with pytest.raises(PromptTooLongError):  # by its length alone
        engine.submit(Embed, inputs=("one " * 500,))
    long, short = engine.embed(["one two three good bad"], ["one two three"], cut_tokens=-1)
    assert np.array_equal(long, short)
    name = engine.submit(Embed, inputs=("one", "one two three good"))
    event = engine.finish()[name]
    assert event == Refused(
        request_id=name, code="context_length_exceeded", param="input[1]",
        message="input[1] has 6 tokens, the model reads at most 5",
    )  # fmt: skip


def test_documents_are_judged_beside_the_query(load):
    engine = load(cross_encoder(), text=True, max_position_embeddings=12)
    assert engine.ready.abilities == ("rerank", "tensors")
    scores = engine.score(["one", "two two", "bad"], query="two two two")
    assert np.allclose(scores[:, 0], 1 / (1 + np.exp([0.0, -2.0, 1.0])), atol=1e-6)
    assert np.allclose(engine.score(["two " * 50], query="one", cut_tokens=3), 1 / (1 + np.exp(-3.0)))
    name = engine.submit(Score, texts=("one", "two " * 9), query="one")
    assert engine.finish()[name].param == "documents[1]"
    with pytest.raises(PromptTooLongError, match="query"):
        engine.submit(Score, texts=("one",), query="one " * 1000)


def test_classes_have_their_names_and_probabilities(load):
    engine = load(classifier(), text=True, id2label={"0": "positive", "1": "negative"})
    assert engine.ready.abilities == ("classification", "tensors")
    assert engine.ready.labels == ("positive", "negative", "LABEL_2")
    odds = np.exp([4.0, 0.0, 2.0])
    assert np.allclose(engine.score(["good good one"])[0], odds / odds.sum(), atol=1e-6)


def test_a_text_may_belong_to_several_classes(load):
    engine = load(classifier(), text=True, problem_type="multi_label_classification")
    assert engine.ready.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert np.allclose(engine.score(["good one"])[0], 1 / (1 + np.exp([-2.0, 0.0, -2.0])), atol=1e-6)


def test_each_model_does_its_own_work_only(load):
    engine = load(cross_encoder(), text=True)
    for command, message in (
        (Embed(request_id="e", inputs=("one",)), "judges pairs"),
        (Score(request_id="s", texts=("one",)), "judges pairs"),
        (Generate(request_id="g", text="one"), "does not make any text"),
        (Score(request_id="s", texts=(), query="one"), "no text"),
    ):
        with pytest.raises(RequestInvalidError, match=message):
            engine.engine.submit(command)
    with pytest.raises(RequestInvalidError, match="reads tensors, not text"):
        load(adder()).submit(Embed, inputs=("one",))


def test_a_cancelled_request_leaves_the_others_alone(load):
    engine = load(embedder(), text=True)
    gone = engine.submit(Embed, inputs=("one",) * 100)
    stays = engine.submit(Embed, inputs=("two",))
    engine.engine.step()
    engine.engine.cancel(gone)
    engine.engine.cancel("never heard of")
    events = engine.finish()
    assert isinstance(events[gone], Finished)
    assert events.get(stays) is None or isinstance(events[stays], Embedded)
    assert not engine.engine.busy


def test_one_bad_request_in_a_batch_does_not_spoil_the_others(load, monkeypatch):
    engine = load(embedder(), text=True)
    session = engine.engine._session
    native = session.run

    def run(feeds, outputs):
        if 4 in feeds["input_ids"]:  # the token of `one`
            return native({}, outputs)  # what ONNX Runtime raises for a missing input
        return native(feeds, outputs)

    monkeypatch.setattr(session, "run", run)
    bad = engine.submit(Embed, inputs=("one",))
    good = [engine.submit(Embed, inputs=(text,)) for text in ("two", "three")]
    events = engine.finish()
    assert isinstance(events[bad], Refused)
    assert events[bad].code == "engine.failed"
    assert all(isinstance(events[name], Embedded) for name in good)


def test_tensors_are_joined_once_trials_have_agreed(load, monkeypatch):
    engine = load(adder())
    assert engine.ready.abilities == ("tensors",)
    assert [(spec.name, spec.datatype, spec.shape) for spec in engine.ready.inputs] == [
        ("a", "FP32", (-1, -1)), ("b", "FP32", (-1, -1)),
    ]  # fmt: skip
    sizes = run_sizes(engine, monkeypatch)
    requests = [{"a": [[index, 1]], "b": [[2, index]]} for index in range(4)]
    for _ in range(2):
        answers = engine.infer(*requests)
        for index, answer in enumerate(answers):
            assert answer["total"].tolist() == [[index + 2, 1 + index]]
            assert answer["rest"].tolist() == [[index - 2, 1 - index]]
    assert sizes == [1, 1, 1, 1, 4, 4]


def test_rows_that_look_at_each_other_are_never_joined(load):
    engine = load(company())
    for _ in range(3):
        small, large = engine.infer({"x": [[1, 2]]}, {"x": [[10, 20]]})
        assert (small["y"].tolist(), large["y"].tolist()) == ([[-1, 0]], [[-10, 0]])
    assert engine.engine._trials.refuted


def test_only_requests_of_one_form_are_joined(load, monkeypatch):
    engine = load(adder(), spec={"batching": "fast"})
    sizes = run_sizes(engine, monkeypatch)
    narrow, wide = {"a": [[1]], "b": [[2]]}, {"a": [[1, 2, 3]], "b": [[4, 5, 6]]}
    answers = engine.infer(narrow, wide, narrow, wide)
    assert [answer["total"].tolist() for answer in answers] == [[[3]], [[5, 7, 9]]] * 2
    assert sizes == [2, 2]
    assert engine.infer(narrow, outputs=("rest",))[0].keys() == {"rest"}


@pytest.mark.parametrize(
    ("changes", "message", "param"),
    [
        ({"name": "z"}, "no input 'z'; it takes a, b", "inputs[1]"),
        ({"name": "a"}, "'a' is there twice", "inputs[1]"),
        ({"datatype": "INT64"}, "is of FP32, not 'INT64'", "inputs[1].datatype"),
        ({"shape": (2,)}, "takes [-1, -1]", "inputs[1].shape"),
        ({"data": b"123"}, "has 3 bytes", "inputs[1]"),
        ({"shape": (-1, 2)}, "negative", "inputs[1]"),
    ],
)
def test_wrong_tensors_are_named(load, make_tensor, changes, message, param):
    import msgspec

    engine = load(adder())
    right = make_tensor("b", [[1, 2]])
    inputs = (make_tensor("a", [[1, 2]]), msgspec.structs.replace(right, **changes))
    with pytest.raises(RequestInvalidError) as caught:
        engine.engine.submit(Infer(request_id="i", inputs=inputs))
    assert message in caught.value.message
    assert caught.value.param == param
    with pytest.raises(RequestInvalidError, match="'b' is missing"):
        engine.engine.submit(Infer(request_id="i", inputs=inputs[:1]))
    with pytest.raises(RequestInvalidError, match="no output 'q'"):
        engine.engine.submit(Infer(request_id="i", inputs=(inputs[0], right), outputs=("q",)))


def test_shapes_that_do_not_go_together_are_the_requests_own_fault(load):
    engine = load(adder(), spec={"batching": "fast"})
    bad = engine.submit(Infer, inputs=tensors_of(a=[[1, 2]], b=[[1, 2, 3]]))
    good = engine.submit(Infer, inputs=tensors_of(a=[[1]], b=[[1]]))
    events = engine.finish()
    assert events[bad].code == "engine.failed"
    assert events[good].outputs[0].name == "total"


def tensors_of(**arrays):
    from edge_node.engines import Tensor

    return tuple(
        Tensor(name=name, datatype="FP32", shape=np.shape(rows), data=np.asarray(rows, np.float32).tobytes())
        for name, rows in arrays.items()
    )


def test_a_text_model_takes_tensors_too(load):
    from edge_node.engines import Tensor

    engine = load(embedder(), text=True)
    ids = np.array([[2, 4, 3]], np.int64)
    inputs = tuple(
        Tensor(name=name, datatype="INT64", shape=(1, 3), data=array.tobytes())
        for name, array in (
            ("input_ids", ids),
            ("attention_mask", np.ones_like(ids)),
            ("token_type_ids", ids * 0),
        )
    )
    name = engine.submit(Infer, inputs=inputs)
    (output,) = engine.finish()[name].outputs
    assert (output.name, output.shape) == ("last_hidden_state", (1, 3, 4))


def test_providers_that_are_not_there_are_named(load):
    with pytest.raises(
        EngineFailedError, match=r"asks for CUDAExecutionProvider; .* has .*CPUExecutionProvider"
    ):
        load(echo("FP32"), spec={"providers": ("CUDAExecutionProvider",)})
    engine = load(echo("FP32"), spec={"providers": ("CPUExecutionProvider",), "keeps_arena": False})
    assert "-cpu-" in engine.ready.fingerprint
