from __future__ import annotations

from edge_node.speeds import SpeedTable


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
