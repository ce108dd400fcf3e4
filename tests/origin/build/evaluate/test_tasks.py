import json

import pytest

from origin.build.evaluate.tasks import ProbeSpec, RetrievalSpec, SimilaritySpec, read_tasks
from registry.errors import InputInvalidError

SIMILARITY = SimilaritySpec(documents="texts.txt", scores="scores.txt")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(f"text {index}" for index in range(5)) + "\n")
    table = "\n".join("\t".join(str(10 * row + column) for column in range(5)) for row in range(5))
    (tmp_path / "scores.txt").write_text(table)
    (tmp_path / "probe.jsonl").write_text(lines({"text": f"t{i}\u2028", "label": i % 2} for i in range(50)))
    (tmp_path / "pairs.jsonl").write_text(lines({"text": f"t{i}", "example": f"e{i}"} for i in range(30)))
    return tmp_path


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def test_reads_each_kind(folder):
    specs = (SIMILARITY, ProbeSpec(file="probe.jsonl", train_count=25), RetrievalSpec(file="pairs.jsonl"))
    similarity, probe, retrieval = read_tasks(specs, folder)
    assert similarity.scores == (1, 2, 3, 4, 12, 13, 14, 23, 24, 34)
    assert probe.labels == tuple(index % 2 for index in range(50))
    assert (probe.train_count, len(probe.texts)) == (25, 50)
    assert retrieval.texts[0] == "t0"
    assert retrieval.texts[30] == "e0"
    assert len({similarity.sha256, probe.sha256, retrieval.sha256}) == 3


def refusal(specs, folder):
    with pytest.raises(InputInvalidError) as caught:
        read_tasks(specs, folder)
    return caught.value.message


@pytest.mark.parametrize("content", ["1 2 3", "1 x\n", "", "1 2\n3 4\n"])
def test_refuses_a_table_that_does_not_fit(folder, content):
    (folder / "scores.txt").write_text(content)
    assert "scores.txt" in refusal((SIMILARITY,), folder)


@pytest.mark.parametrize(
    "line", ["{", '{"text": "a"}', '{"text": "a", "label": "good"}', '{"text": 1, "label": 1}']
)
def test_names_the_line_that_is_wrong(folder, line):
    (folder / "probe.jsonl").write_text((folder / "probe.jsonl").read_text() + "\n" + line)
    assert "line 51" in refusal((ProbeSpec(file="probe.jsonl", train_count=25),), folder)


@pytest.mark.parametrize("train_count", [-1, 0, 5, 45, 50, 1000])
def test_refuses_to_learn_from_too_few_or_to_judge_on_too_few(folder, train_count):
    assert "train_count" in refusal((ProbeSpec(file="probe.jsonl", train_count=train_count),), folder)


def test_refuses_one_label_alone(folder):
    (folder / "probe.jsonl").write_text(lines({"text": f"t{i}", "label": i // 30} for i in range(60)))
    assert "one label" in refusal((ProbeSpec(file="probe.jsonl", train_count=25),), folder)


def test_refuses_two_of_a_kind_and_missing_files(folder):
    assert "two tasks" in refusal((SIMILARITY, SIMILARITY), folder)
    assert "none.jsonl" in refusal((RetrievalSpec(file="none.jsonl"),), folder)
