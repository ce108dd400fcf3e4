"""Which file is opened."""

import pytest

from edge_node.engines import EngineSpec
from edge_node.engines.llama.library import gguf_path, remembered_cells_count
from edge_node.errors import EngineFailedError


def path_of(*files):
    return gguf_path(EngineSpec(kind="llama", name="m", version="1", model_dir="/m", files=files)).name


def test_the_only_file_or_the_first_of_a_whole_split():
    assert path_of("README.md", "model.Q4_0.gguf") == "model.Q4_0.gguf"
    assert path_of("m-00002-of-00002.gguf", "m-00001-of-00002.gguf") == "m-00001-of-00002.gguf"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no .gguf file"),
        (("model.onnx",), "no .gguf file"),
        (("a.gguf", "b.gguf"), "2 .gguf files where one model needs 1"),
        (("m-00001-of-00003.gguf", "m-00002-of-00003.gguf"), "2 .gguf files where one model needs 3"),
    ],
)
def test_no_guessing(files, message):
    with pytest.raises(EngineFailedError, match=message):
        path_of(*files)


def test_large_models_may_remember_more():
    assert remembered_cells_count(parameters_count=135_000_000, heads_count=270) == 2048
    assert 15_000 < remembered_cells_count(parameters_count=8_000_000_000, heads_count=1024) < 25_000
