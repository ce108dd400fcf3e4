"""Templates as models carry them, and templates as they should not be."""

import datetime as dt

import pytest

from edge_node.engines import ChatMessage
from edge_node.engines.chat_template import ChatTemplate, ChatTemplateInvalidError
from edge_node.errors import RequestInvalidError

TODAY = dt.date(2026, 11, 23)
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def template(source):
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def user(text="hi", **more):
    return ChatMessage(role="user", content=text, **more)


def render(source, *messages):
    return template(source).render(messages or (user(),), today=TODAY)


def test_chatml():
    assert render(CHATML, user("What?")) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_what_templates_use():
    assert render("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}") == "<s>hi</s>"
    assert render("{{ messages | tojson }}", user("ü", name="Ann")) == (
        '[{"role": "user", "content": "ü", "name": "Ann"}]'
    )
    assert (
        render(
            "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}x{% endfor %}",
            user(),
            user(),
        )
        == "x"
    )
    assert render("{% generation %}a{% endgeneration %}") == "a"
    assert render("{% if tools %}tools{% else %}none{% endif %}") == "none"


def test_the_time_stands_still_for_a_day():
    assert render("{{ strftime_now('%d %b %Y %H:%M:%S') }}") == "23 Nov 2026 00:00:00"


def test_a_template_that_refuses_says_why():
    with pytest.raises(RequestInvalidError, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[5].content }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ range(10000000) | list }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_cannot_break_out_or_break_the_engine(source):
    with pytest.raises(RequestInvalidError):
        render(source)


def test_a_template_that_does_not_compile_is_none():
    with pytest.raises(ChatTemplateInvalidError, match="does not compile"):
        template("{% for %}")
