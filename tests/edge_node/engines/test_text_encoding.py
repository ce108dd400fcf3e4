"""Tokenizers and their limits, from small real files."""

import json

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from edge_node.engines.onnx.text_model import onnx_path
from edge_node.engines.spec import EngineSpec
from edge_node.engines.text_encoding import open_text_setup
from edge_node.errors import EngineFailedError, PromptTooLongError


def spec_of(*files, context_tokens=0):
    return EngineSpec(
        kind="onnx", name="m", version="1", model_dir="/m", files=files, context_tokens=context_tokens
    )


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    # As published tokenizers often are: cutting and padding switched on.
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def write(folder, name, **content):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def test_inputs_are_neither_cut_nor_padded(folder):
    setup = open_text_setup(folder, spec_of())
    rows = [setup.encoder.text(text, "input") for text in ("one two one", "two")]
    assert [row.ids.tolist() for row in rows] == [[1, 2, 1], [2]]
    assert (setup.encoder.limit_tokens, setup.pooling) == (512, "mean")


def test_the_smallest_limit_that_is_known_counts(folder):
    write(folder, "tokenizer_config.json", model_max_length=1e30, other="ignored")
    assert open_text_setup(folder, spec_of()).encoder.limit_tokens == 512
    write(folder, "config.json", max_position_embeddings=64)
    assert open_text_setup(folder, spec_of()).encoder.limit_tokens == 64
    encoder = open_text_setup(folder, spec_of(context_tokens=3)).encoder
    with pytest.raises(
        PromptTooLongError, match=r"input\[1\] has 4 tokens, the model reads at most 3"
    ) as caught:
        encoder.text("one two one two", "input[1]")
    assert caught.value.param == "input[1]"


def test_pooling_is_the_one_that_was_published_or_refused(folder):
    write(folder, "1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert open_text_setup(folder, spec_of()).pooling == "first"
    write(folder, "1_Pooling/config.json", pooling_mode_max_tokens=True)
    with pytest.raises(EngineFailedError, match="pooling"):
        open_text_setup(folder, spec_of())


def test_which_onnx_file():
    assert onnx_path(spec_of("a/encoder.onnx", "tokenizer.json")).name == "encoder.onnx"
    assert onnx_path(spec_of("onnx/model.onnx", "onnx/model_int8.onnx")).as_posix() == "/m/onnx/model.onnx"
    for files in ((), ("a.onnx", "b.onnx")):
        with pytest.raises(EngineFailedError, match=f"{len(files)} .onnx files"):
            onnx_path(spec_of(*files))


def test_a_text_that_is_far_too_long_is_refused_before_it_is_read(folder):
    encoder = open_text_setup(folder, spec_of(context_tokens=10)).encoder
    encoder.check_length("x" * 640, "input")
    with pytest.raises(PromptTooLongError, match="641 characters, the model reads at most 10 tokens"):
        encoder.check_length("x" * 641, "input")


def test_a_text_is_cut_to_tokens_where_that_is_asked_for(folder):
    encoder = open_text_setup(folder, spec_of(context_tokens=3)).encoder
    assert encoder.text("one two one two", "input", cut_tokens=-1).ids.tolist() == [1, 2, 1]
    assert encoder.text("one two one two", "input", cut_tokens=1).ids.tolist() == [1]
    assert encoder.pair("one", "two two two two", "text", cut_tokens=2).ids.tolist() == [1, 2, 2]


class Watched:
    """A tokenizer that says how much it was given to read."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.most_characters = 0

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def encode(self, *texts, **more):
        self.most_characters = max(self.most_characters, *(len(text) for text in texts))
        return self._tokenizer.encode(*texts, **more)


@pytest.mark.parametrize("long", ["x" * 5_000_000, "one two " * 625_000, " " * 5_000_000])
def test_what_will_be_cut_is_not_read_whole(folder, long):
    encoder = open_text_setup(folder, spec_of(context_tokens=8)).encoder
    watched = encoder._tokenizer = Watched(encoder._tokenizer)
    assert len(encoder.text(long, "input", cut_tokens=-1)) <= 8
    assert len(encoder.text(long, "input", cut_tokens=5)) <= 5
    assert len(encoder.pair("two", long, "text", cut_tokens=5)) <= 6
    assert watched.most_characters <= 8 * 64
