from __future__ import annotations

import threading
import time

from edge_node import speeds
from edge_node.speeds import SpeedTable
from registry.durable import write_durably


def test_the_best_measurement_lasts(tmp_path):
    table = SpeedTable(tmp_path)
    table.note("Q4_1", weights_bytes=100, tokens_per_s=50.0)
    table.note("Q4_1", weights_bytes=100, tokens_per_s=20.0)  # the machine was busy
    table.note("Q8_0", weights_bytes=200, tokens_per_s=1.5)
    table.note("", weights_bytes=200, tokens_per_s=1.5)
    assert table.speeds == {"Q4_1": 5000.0, "Q8_0": 300.0}
    assert SpeedTable(tmp_path).speeds == table.speeds


def test_a_damaged_table_begins_anew(tmp_path):
    (tmp_path / "speeds.json").write_bytes(b'{"Q4_1": "fast"}')
    assert SpeedTable(tmp_path).speeds == {}


def test_a_table_that_cannot_be_read_begins_anew(tmp_path):
    (tmp_path / "speeds.json").mkdir()
    assert SpeedTable(tmp_path).speeds == {}


def test_two_loads_at_once_write_one_after_the_other(tmp_path, monkeypatch):
    writers, most = [], []

    def slowly(path, data):
        writers.append(1)
        most.append(len(writers))
        time.sleep(0.01)
        write_durably(path, data)
        writers.pop()

    monkeypatch.setattr(speeds, "write_durably", slowly)
    table = SpeedTable(tmp_path)
    notes = [
        threading.Thread(
            target=table.note, args=(f"Q{number}",), kwargs={"weights_bytes": 1, "tokens_per_s": 1}
        )
        for number in range(8)
    ]
    for note in notes:
        note.start()
    for note in notes:
        note.join()
    assert most == [1] * 8
    assert SpeedTable(tmp_path).speeds == {f"Q{number}": 1.0 for number in range(8)}
