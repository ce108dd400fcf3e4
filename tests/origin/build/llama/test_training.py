"""Training comes nearer to the teacher, and goes on after a stop as if there had been none."""

import itertools

import numpy as np
import pytest
import torch

from origin.build.gguf.blocks import encode
from origin.build.gguf.model_file import ModelFile
from origin.build.llama.opening import open_teacher
from origin.build.llama.shape import read_shape
from origin.build.llama.training import Lessons, train
from origin.build.llama.weights import CodedWeight, FixedWeight, PlainWeight
from origin.errors import StepFailedError

CPU = torch.device("cpu")
ROWS = np.random.default_rng(0).integers(0, 300, (72, 48))


@pytest.fixture
def teacher(toy):
    torch.set_num_threads(1)
    return open_teacher(ModelFile(toy.model_file), CPU, torch.float32)


def coded_student(toy, rate=0.01):
    model = ModelFile(toy.model_file)
    student = {}
    for name in read_shape(model).tensor_names:
        values = model.values(name)
        if values.ndim == 1:
            student[name] = PlainWeight(torch.from_numpy(values), 0.002, torch.float32)
        else:
            student[name] = CodedWeight(
                encode("Q4_0", values),
                values,
                code_rate=rate,
                scale_rate=0.002,
                kind=torch.float32,
                device=CPU,
            )
    return student


def numbers(student):
    return {name: weight.value() for name, weight in student.items()}


def test_a_quantized_student_comes_nearer(toy, teacher, tmp_path):
    seen = []
    student = coded_student(toy)
    learned = train(
        student,
        teacher.shape,
        teacher,
        Lessons(rows=np.tile(ROWS[:2], (36, 1)), steps_count=36),
        checkpoints=tmp_path,
        report=seen.append,
    )
    assert learned.last < 0.9 * learned.first
    assert [one.done for one in seen] == list(range(1, 37))
    assert learned.tokens_count == 72 * 48


def test_a_stop_anywhere_changes_no_bit(toy, teacher, tmp_path):
    lessons = Lessons(rows=ROWS[:12], steps_count=6, hidden_share=0.5, layers_of_teacher=(0, 1))
    whole = coded_student(toy)
    learned = train(whole, teacher.shape, teacher, lessons, checkpoints=tmp_path, report=lambda _: None)

    class StopError(Exception):
        pass

    def stop_at(count):
        def report(progress):
            if progress.done == count:
                raise StopError

        return report

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    for count in (3, 5):
        ticks = itertools.count(0, 1000)
        with pytest.raises(StopError):
            train(
                coded_student(toy),
                teacher.shape,
                teacher,
                lessons,
                checkpoints=stopped,
                report=stop_at(count),
                clock=lambda ticks=ticks: float(next(ticks)),
            )
        assert list(stopped.iterdir())
    again = coded_student(toy)
    seen = []
    resumed = train(again, teacher.shape, teacher, lessons, checkpoints=stopped, report=seen.append)
    assert seen[0].done > 1
    assert resumed == learned
    for name, value in numbers(whole).items():
        assert torch.equal(value, numbers(again)[name]), name


def test_hidden_states_come_nearer_when_they_count(toy, teacher, tmp_path):
    def trained(share):
        directory = tmp_path / str(share)
        directory.mkdir()
        rng = np.random.default_rng(5)
        student = {
            name: PlainWeight(
                value + 0.02 * torch.from_numpy(rng.standard_normal(value.shape).astype(np.float32)),
                0.01,
                torch.float32,
            )
            for name, value in teacher.weights.items()
        }
        lessons = Lessons(rows=ROWS, steps_count=36, hidden_share=share, layers_of_teacher=(0, 1))
        train(student, teacher.shape, teacher, lessons, checkpoints=directory, report=lambda _: None)
        return float(
            (student["blk.0.ffn_down.weight"].value() - teacher.weights["blk.0.ffn_down.weight"])
            .square()
            .mean()
        )

    assert trained(3.0) < trained(0.0)


def test_a_tensor_that_stays_does(toy, teacher, tmp_path):
    student = coded_student(toy)
    fixed = teacher.weights["token_embd.weight"].clone()
    student["token_embd.weight"] = FixedWeight(fixed)
    train(
        student,
        teacher.shape,
        teacher,
        Lessons(rows=ROWS, steps_count=3),
        checkpoints=tmp_path,
        report=lambda _: None,
    )
    assert torch.equal(fixed, teacher.weights["token_embd.weight"])


def test_a_loss_that_is_no_number_stops(toy, teacher, tmp_path):
    student = {name: PlainWeight(value, 0.01, torch.float32) for name, value in teacher.weights.items()}
    student["output_norm.weight"] = PlainWeight(torch.full((64,), torch.nan), 0.01, torch.float32)
    with pytest.raises(StepFailedError, match="after 0 of 3 steps the loss is nan"):
        train(
            student,
            teacher.shape,
            teacher,
            Lessons(rows=ROWS, steps_count=3),
            checkpoints=tmp_path,
            report=lambda _: None,
        )
