from origin.build.evaluate.leaks import leaked_share

WORDS = [f"word{index}" for index in range(400)]
JUDGED = [" ".join(WORDS[:100]), " ".join(WORDS[100:200])]


def test_other_texts_share_nothing():
    assert leaked_share(JUDGED, [" ".join(WORDS[200:])]) == 0.0
    assert leaked_share(JUDGED, []) == 0.0


def test_the_same_texts_share_everything():
    assert leaked_share(JUDGED, JUDGED[::-1]) == 1.0


def test_a_text_that_is_a_part_of_a_longer_one_is_found_whatever_its_dots_and_capitals():
    longer = f"Before. {JUDGED[0].upper().replace(' ', ', ')} after"
    assert leaked_share(JUDGED, [longer]) == 0.5


def test_short_texts_are_held_whole():
    assert leaked_share(["A short text.", "Another one"], ["a  SHORT text"]) == 0.5


def test_texts_without_words_are_no_leak():
    assert leaked_share(["...", "—"], ["...", "!"]) == 0.0
