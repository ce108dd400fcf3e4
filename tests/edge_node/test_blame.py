from __future__ import annotations

from edge_node.blame import Blame, fingerprint
from edge_node.engines import ChatMessage, Embed, Generate, Sampling


def ask(request_id="1", text="hello", **sampling):
    return Generate(
        request_id=request_id,
        messages=(ChatMessage(role="user", content=text),),
        sampling=Sampling(**sampling),
    )


def test_the_same_work_has_the_same_fingerprint_whatever_its_id():
    assert fingerprint("chat@1", ask("1")) == fingerprint("chat@1", ask("2"))


def test_other_work_has_another_fingerprint():
    prints = {
        fingerprint("chat@1", ask()), fingerprint("chat@2", ask()), fingerprint("chat@1", ask(text="bye")),
        fingerprint("chat@1", ask(logit_bias={3: 1.0})),
        fingerprint("chat@1", Embed(request_id="1", inputs=("hello",))),
    }  # fmt: skip
    assert len(prints) == 5


def test_a_request_is_refused_after_two_deaths():
    blame, request = Blame(), fingerprint("chat@1", ask())
    blame.died([request])
    assert not blame.refuses(request)
    blame.died([request, request])
    assert blame.refuses(request)


def test_an_answer_clears_a_bystander():
    blame, request = Blame(), fingerprint("chat@1", ask())
    blame.died([request])
    blame.answered(request)
    blame.died([request])
    assert not blame.refuses(request)


def test_the_memory_is_bounded_and_forgets_the_oldest():
    blame = Blame(remembered_count=2)
    first, second, third = (fingerprint("chat@1", ask(text=text)) for text in "abc")
    for request in (first, second, third):
        blame.died([request])
        blame.died([request])
    assert [blame.refuses(request) for request in (first, second, third)] == [False, True, True]
