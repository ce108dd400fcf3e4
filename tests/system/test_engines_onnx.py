"""The ONNX engine in its process, with a real embedding model."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_node.engines import Embed, Generate
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec
from edge_node.errors import EngineFailedError, PromptTooLongError, RequestInvalidError

pytestmark = pytest.mark.system

TEXTS = (
    "A cat sits on the mat.",
    "The kitten is resting on a rug.",
    "Stock markets fell sharply after the central bank raised interest rates by half a point on Tuesday.",
    "Hi",
)


def spec_of(folder, **more):
    files = tuple(str(path.relative_to(folder)) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return EngineSpec(kind="onnx", name="minilm", version="1.0.0", model_dir=str(folder), files=files, **more)


@pytest.fixture
async def engine(sample_models, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    engine = EngineProcess(spec_of(sample_models / "minilm"))
    engine.ready = await engine.start()
    yield engine
    await engine.close(5)


async def vectors(engine, request_id, texts):
    embedded = await engine.compute(Embed(request_id=request_id, inputs=tuple(texts)))
    return np.frombuffer(embedded.vectors, "<f4").reshape(len(texts), embedded.dims)


async def test_paraphrases_are_nearer_than_strangers(engine):
    assert engine.ready.abilities == ("embedding", "tensors")
    assert engine.ready.batches, "a model whose weights alone are quantized gives the same in any company"
    assert (engine.ready.embedding_dims, engine.ready.context_tokens) == (384, 512)
    cat, kitten, markets, _ = await vectors(engine, "a", TEXTS)
    assert cat @ kitten > 0.5
    assert cat @ markets < 0.2
    assert np.allclose(np.linalg.norm([cat, kitten, markets], axis=1), 1, atol=1e-5)


async def test_a_batch_gives_what_each_text_gives_alone(engine):
    many = TEXTS * 20
    together = await vectors(engine, "all", many)
    alone = np.vstack([await vectors(engine, f"one{i}", [text]) for i, text in enumerate(TEXTS)])
    assert np.abs(together - np.vstack([alone] * 20)).max() < 1e-3


async def test_requests_at_the_same_time_keep_their_own(engine):
    got = await asyncio.gather(*(vectors(engine, f"r{i}", [text] * 40) for i, text in enumerate(TEXTS)))
    expected = await vectors(engine, "e", TEXTS)
    for rows, row in zip(got, expected, strict=True):
        assert np.abs(rows - row).max() < 1e-3


async def test_an_input_that_is_too_long_is_named(engine):
    with pytest.raises(PromptTooLongError, match=r"input\[2\] has 602 tokens.* 512") as caught:
        await vectors(engine, "a", ["fine", "fine", "word " * 600])
    assert caught.value.param == "input[2]"
    assert (await vectors(engine, "b", ["word " * 510])).shape == (1, 384)


async def test_what_it_cannot_do_is_refused(engine):
    with pytest.raises(RequestInvalidError, match="does not make any text"):
        await anext(engine.generate(Generate(request_id="g", text="x")))
    with pytest.raises(RequestInvalidError, match="no text"):
        await engine.compute(Embed(request_id="e", inputs=()))


async def test_cancelled_callers_do_not_stop_the_engine(engine):
    task = asyncio.create_task(vectors(engine, "big", ["many words in a row " * 60] * 200))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await vectors(engine, "small", ["fine"])).shape == (1, 384)


async def test_nothing_is_reported_to_anyone(engine, tmp_path):
    await vectors(engine, "a", TEXTS)
    await engine.close(5)
    assert list(tmp_path.rglob("*")) == []


async def test_a_missing_tokenizer_is_named(sample_models, tmp_path):
    shutil.copy(sample_models / "minilm" / "model.onnx", tmp_path)
    with pytest.raises(EngineFailedError, match=r"tokenizer\.json is missing"):
        await EngineProcess(spec_of(tmp_path)).start()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"not a model", r"cannot load model\.onnx"),
        ("tokenizer.json", b"{}", r"tokenizer\.json cannot be read"),
        ("config.json", b"[", r"config\.json cannot be read"),
    ],
)
async def test_damaged_files_are_named(sample_models, tmp_path, name, content, message):
    folder = shutil.copytree(sample_models / "minilm", tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(EngineFailedError, match=message):
        await EngineProcess(spec_of(folder)).start()
