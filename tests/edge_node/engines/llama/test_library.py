"""Which file is opened."""

import pytest

from edge_node.engines.llama import library
from edge_node.engines.llama.library import gguf_path, remembered_cells_count
from edge_node.engines.spec import EngineSpec
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
    small, large = {"parameters_count": 135_000_000, "heads_count": 270}, {
        "parameters_count": 8_000_000_000, "heads_count": 1024,
    }  # fmt: skip
    assert remembered_cells_count(**small, kept_in_memory=False) == 2048
    assert 15_000 < remembered_cells_count(**large, kept_in_memory=False) < 25_000


@pytest.mark.parametrize(
    ("parameters_count", "heads_count", "least_count", "most_count"),
    [
        (20_000_000, 48, 0, 0),
        (135_000_000, 270, 0, 0),  # 512 scattered cells cost this one a tenth of an answer's speed
        (1_200_000_000, 512, 256, 1024),
        (8_000_000_000, 1024, 1024, 4096),
    ],
)
def test_small_models_remember_in_memory_alone(parameters_count, heads_count, least_count, most_count):
    count = remembered_cells_count(
        parameters_count=parameters_count, heads_count=heads_count, kept_in_memory=True
    )
    assert least_count <= count <= most_count


def gpu_spec(**more):
    return EngineSpec(kind="llama", name="m", version="1", model_dir="/m", files=("m.gguf",), **more)


@pytest.mark.parametrize("more", [{"gpu_layers": -1}, {"gpu_layers": 3}, {"gpu_split": (1.0,)}])
def test_gpus_that_the_build_cannot_use_are_refused_and_not_forgotten(more, monkeypatch):
    monkeypatch.setattr(library.native, "llama_supports_gpu_offload", lambda: False)
    with pytest.raises(EngineFailedError, match=r"gpu_layers_count .* computes on the CPU alone"):
        library._model_params(gpu_spec(**more))
    library._model_params(gpu_spec())


@pytest.mark.parametrize(("mode", "number"), [("none", 0), ("layer", 1), ("row", 2)])
def test_what_is_said_of_gpus_reaches_the_library_of_a_build_that_has_them(mode, number, monkeypatch):
    monkeypatch.setattr(library.native, "llama_supports_gpu_offload", lambda: True)
    params, kept = library._model_params(gpu_spec(gpu_layers=-1, gpu_split=(3.0, 1.0), split_mode=mode))
    assert (params.n_gpu_layers, params.split_mode) == (-1, number)
    assert list(params.tensor_split[:3]) == [3.0, 1.0, 0.0]
    assert len(kept) == library.native.llama_max_devices()


def test_more_gpus_than_the_library_knows_are_refused(monkeypatch):
    monkeypatch.setattr(library.native, "llama_supports_gpu_offload", lambda: True)
    with pytest.raises(EngineFailedError, match="names 99 devices"):
        library._model_params(gpu_spec(gpu_split=(1.0,) * 99))
