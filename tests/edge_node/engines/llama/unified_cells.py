"""A memory of cells that keeps llama.cpp's rules in plain lists."""

import json


class UnifiedCells:
    """A unified cache: cells hold a position and a token, and belong to any number of sequences."""

    def __init__(self, count):
        self.count = count
        self.cells = []  # [position, token, set of sequences]

    def compute(self, sequence, position, tokens):
        self.cells += [[position + at, token, {sequence}] for at, token in enumerate(tokens)]
        assert len(self.cells) <= self.count, "more than there are cells"

    def content(self, sequence):
        held = sorted((cell[0], cell[1]) for cell in self.cells if sequence in cell[2])
        assert len({position for position, _ in held}) == len(held), "a position twice"
        return held

    def forget_part(self, sequence, start, end):
        for cell in self.cells:
            if start <= cell[0] < end:
                cell[2].discard(sequence)
        self.cells = [cell for cell in self.cells if cell[2]]

    def forget(self, sequence, position):
        self.forget_part(sequence, position, 1 << 30)
        return True

    def copy_part(self, source, target, start, end):
        for cell in self.cells:
            if source in cell[2] and start <= cell[0] < end:
                cell[2].add(target)
        self.content(target)

    def copy(self, source, target, count):
        assert not self.content(target)
        self.copy_part(source, target, 0, count)

    def span(self, sequence):
        held = self.content(sequence)
        return (held[0][0], held[-1][0] + 1) if held else (-1, 0)

    def save(self, sequence):
        return json.dumps(self.content(sequence)).encode()

    def restore(self, sequence, state):
        assert not self.content(sequence)
        held = json.loads(state)
        assert [position for position, _ in held] == list(range(held[0][0], held[0][0] + len(held)))
        self.cells += [[position, token, {sequence}] for position, token in held]
        assert len(self.cells) <= self.count, "no room was made"
        return True
