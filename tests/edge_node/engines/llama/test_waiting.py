"""Turns among clients."""

from dataclasses import dataclass

from edge_node.engines.llama.waiting import WaitingLine


@dataclass
class Item:
    client: str
    number: int


def line_of(clients):
    line = WaitingLine()
    for number, client in enumerate(clients):
        line.append(Item(client, number), at_work=False)
    return line


def served(line, *, cost=10.0):
    order = []
    while len(line):
        item = line.heads()[0]
        line.remove(item)
        line.charge(item.client, cost)
        order.append(item.number)
    return order


def test_a_client_with_many_requests_does_not_hold_up_another():
    assert served(line_of("aaaabb")) == [0, 4, 1, 5, 2, 3]


def test_who_comes_back_has_no_claim_on_what_it_did_not_use():
    line = line_of("a")
    line.remove(line.heads()[0])
    line.charge("a", 1000)
    line.lift({"a"})
    for number in range(3):
        line.append(Item("a", number), at_work=True)
        line.append(Item("b", 10 + number), at_work=False)
    assert served(line) == [0, 10, 1, 11, 2, 12]


def test_one_that_was_put_off_is_first_of_its_client():
    line = line_of("aa")
    first = line.heads()[0]
    line.remove(first)
    line.append(Item("a", 7), at_work=True)
    line.put_back(first)
    assert [item.number for item in line] == [0, 1, 7]
    assert len(line) == 3


def test_the_place_in_line_takes_clients_by_turns():
    assert [item.number for item in line_of("aaab")] == [0, 3, 1, 2]


def test_the_memory_of_clients_is_bounded():
    line = WaitingLine()
    for number in range(3000):
        line.charge(str(number), 1)
    assert len(line._used_tokens) == 1024
