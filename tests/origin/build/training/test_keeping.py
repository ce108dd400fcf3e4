"""Where training stands, on disk."""

import torch

from origin.build.training.keeping import keep, kept


def tensors(fill):
    return {"a/numbers": torch.full((3, 2), fill), "a/numbers/step": torch.tensor(fill)}


def test_what_was_kept_is_read_back(tmp_path):
    keep(tmp_path, 7, tensors(1.5), {"first": "0.25"})
    found = tensors(0.0)
    assert kept(tmp_path, found) == (7, {"first": "0.25"})
    assert torch.equal(found["a/numbers"], torch.full((3, 2), 1.5))
    assert float(found["a/numbers/step"]) == 1.5


def test_nothing_kept_is_no_steps(tmp_path):
    assert kept(tmp_path, tensors(0.0)) == (0, {})


def test_a_damaged_or_foreign_file_is_as_none(tmp_path):
    keep(tmp_path, 7, tensors(1.5), {})
    file = next(tmp_path.iterdir())
    whole = file.read_bytes()
    found = tensors(0.0)
    for content in (b"", whole[:40], whole[:-3]):
        file.write_bytes(content)
        assert kept(tmp_path, found) == (0, {})
    file.write_bytes(whole)
    assert kept(tmp_path, {**found, "b": torch.zeros(1)}) == (0, {})
    assert kept(tmp_path, {**found, "a/numbers": torch.zeros(4, 2)}) == (0, {})
    assert torch.equal(found["a/numbers"], torch.zeros(3, 2))
