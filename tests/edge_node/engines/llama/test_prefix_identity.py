"""What prefixes are tied to."""

import os

import pytest

from edge_node.engines.llama.prefix_identity import model_identity, prefix_identity
from edge_node.engines.spec import EngineSpec


def spec_of(tmp_path, **more):
    facts = {"files": ("a.onnx", "model.gguf")} | more
    return EngineSpec(kind="llama", name="m", version="1", model_dir=str(tmp_path), **facts)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


def test_the_manifest_s_digest_names_the_model_wherever_it_lies(tmp_path, model):
    digests = ("0" * 64, "1" * 64)
    assert model_identity(spec_of(tmp_path, files_sha256=digests), model) == "sha256:" + "1" * 64


def test_without_a_digest_a_file_that_was_written_to_is_another(tmp_path, model):
    before = model_identity(spec_of(tmp_path), model)
    assert model_identity(spec_of(tmp_path), model) == before
    os.utime(model, ns=(0, 0))
    assert model_identity(spec_of(tmp_path), model) != before


def test_other_weights_and_another_kv_type_make_another_identity(tmp_path, model):
    digests = ("0" * 64, "1" * 64)
    identities = {
        prefix_identity(spec_of(tmp_path, files_sha256=digests), model),
        prefix_identity(spec_of(tmp_path, files_sha256=digests, kv_type="q8_0"), model),
        prefix_identity(spec_of(tmp_path, files_sha256=("1" * 64, "0" * 64)), model),
    }
    assert len(identities) == 3
    same = spec_of(tmp_path, files_sha256=digests, threads_count=7, context_tokens=99)
    assert prefix_identity(same, model) in identities
