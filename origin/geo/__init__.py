"""Which node should answer: distances, the score, the choice, and the words when there is none. All of it pure."""
