"""The books of the cells."""

from edge_node.engines.llama.cells import Cells


def test_a_shared_cell_is_free_when_its_last_holder_drops_it():
    cells = Cells(10)
    first = cells.take(6)
    second = first[:4]
    cells.share(second)
    second += cells.take(2)
    assert cells.free_count == 2
    cells.drop(first)
    assert cells.free_count == 4
    cells.drop(second)
    assert cells.free_count == 10
    assert sorted(cells.take(10)) == list(range(10))
