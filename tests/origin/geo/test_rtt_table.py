"""A bounded table: what is put in is there, and what makes room is the place that was updated least recently."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from origin.api import Place
from origin.geo.rtt_surface import fitted
from origin.geo.rtt_table import RttTable
from origin.geo.sphere import on_sphere

HERE, THERE = Place(10, 20), Place(-30, 40)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 9), st.floats(1, 900)), max_size=200))
def test_it_agrees_with_a_dictionary(puts):
    table, model, order = RttTable(entries_limit_count=1), {}, []
    for key, node, rtt_ms in puts:
        table.put(key, Place(key / 2, key), f"n{node}", Place(node, node), rtt_ms)
        if key in order:
            order.remove(key)
        elif len(order) == 64:
            gone = order.pop(0)
            model = {pair: rtt for pair, rtt in model.items() if pair[0] != gone}
        order.append(key)
        model[key, node] = rtt_ms
    assert len(table) == len(order)
    for key, row in table._rows.items():
        assert np.allclose(table.places[row], on_sphere(Place(key / 2, key)))
        for node_id, column in table.columns.items():
            value = table.rtts_ms[row, column]
            known = model.get((key, int(node_id[1:])))
            assert np.isnan(value) if known is None else value == known


def test_it_says_whether_anything_changed_worth_a_look():
    table = RttTable()
    assert table.put("a", HERE, "n", THERE, 50.0)
    assert not table.put("a", HERE, "n", THERE, 50.9)
    assert table.put("a", HERE, "n", THERE, 70.0)


def test_a_node_that_moves_begins_with_nothing_and_a_copy_stays_as_it_was():
    table = RttTable()
    table.put("a", HERE, "n", THERE, 50.0)
    before = table.copied()
    table.put("b", HERE, "n", HERE, 2.0)
    assert np.isnan(table.rtts_ms[0, 0])
    assert before.rtts_ms.tolist() == [[50.0]]


def test_a_surface_stays_as_it_is_while_its_table_changes():
    table = RttTable()
    for n in range(9):
        table.put(n, Place(n, n), "n", THERE, 50.0 + n)
    surface = fitted(table)
    before = surface.guess(HERE).tolist()
    for n in range(200):
        table.put(n, Place(n / 3, n), f"n{n}", HERE, 500.0)
    assert surface.guess(HERE).tolist() == before
    assert set(surface.columns) == {"n"}


def test_an_empty_table_guesses_nothing():
    surface = fitted(RttTable())
    assert surface.guess(HERE).tolist() == []
    assert surface.misses(["a"]).shape == (0, 1)
    assert surface.miss_ms == 0.0
