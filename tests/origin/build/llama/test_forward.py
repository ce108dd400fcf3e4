"""The model as a function of its tensors gives what llama.cpp gives."""

import numpy as np
import torch

from origin.build.gguf.forward import open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.llama.forward import hidden_states
from origin.build.llama.shape import read_shape
from tests.origin.build.gguf.conftest import toy_artifact
from tests.origin.build.toy_llama import ToyShape


def logits(path, tokens):
    model = ModelFile(path)
    shape = read_shape(model)
    weights = {name: torch.from_numpy(model.values(name)) for name in shape.tensor_names}
    _, hidden = hidden_states(weights, shape, torch.tensor([tokens]))
    return (hidden[0] @ weights[shape.output].T).numpy()


def check(path):
    tokens = [5, 77, 130, 9, 9, 200, 31, 12, 64, 255]
    with open_forward(path, chunk_tokens=32, threads_count=1) as forward:
        theirs = forward.logits(tokens).copy()
    own = logits(path, tokens)
    assert (
        np.abs(own - theirs).max() < 0.02 * np.abs(theirs).max()
    )  # llama.cpp keeps keys and values in halves
    assert np.corrcoef(own.ravel(), theirs.ravel())[0, 1] > 0.9999


def test_logits_are_llama_cpps(toy):
    check(toy.model_file)


def test_logits_are_llama_cpps_with_as_many_heads_for_keys(tmp_path):
    check(toy_artifact(tmp_path, ToyShape(layers=3, width=96, heads=3, kv_heads=3), seed=4).model_file)


def test_a_later_token_changes_nothing_before_it(toy):
    first, second = logits(toy.model_file, [5, 6, 7, 8]), logits(toy.model_file, [5, 6, 7, 90])
    assert np.allclose(first[:3], second[:3], atol=1e-5)
    assert not np.allclose(first[3], second[3], atol=1e-2)


def test_there_is_a_state_after_the_embedding_and_after_each_layer(toy):
    model = ModelFile(toy.model_file)
    shape = read_shape(model)
    weights = {name: torch.from_numpy(model.values(name)) for name in shape.tensor_names}
    states, hidden = hidden_states(weights, shape, torch.tensor([[1, 2], [3, 4], [5, 6]]))
    assert len(states) == shape.layers_count + 1
    assert {tuple(state.shape) for state in (*states, hidden)} == {(3, 2, shape.width)}
