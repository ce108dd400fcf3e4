from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from origin.build.evaluate.figures import Evaluation, Figure
from origin.build.gates import judge
from origin.build.report.writing import Report, ReportRow, read_report, write_report

VOID = {"meta", "br", "link"}


def figure(value, spread=0.0):
    return Figure(value=value, low=value - spread, high=value + spread)


def row(variant, kl, megabytes, speed, **more):
    figures = {
        "kl_mean": figure(kl, kl / 10), "kl_p99": figure(5 * kl), "top1": figure(0.9), "perplexity_ratio": figure(1.05),
        "tokenizer_same": figure(1.0), "leaked_share": figure(0.0), "bytes": figure(megabytes * 1e6),
        "wire_bytes": figure(megabytes * 0.9e6), "memory_bytes": figure(megabytes * 2e6),
        "decode_speedup": figure(speed, 0.05), "decode_tokens_per_s": figure(100 * speed), **more,
    }  # fmt: skip
    evaluation = Evaluation(
        candidate=variant, reference="r", kind="gguf", texts_sha256="ab" * 32, seed=7, figures=figures,
        sizes={"tokens_count": 8405}, versions={"numpy": "2.0"},
    )  # fmt: skip
    return ReportRow(
        variant=variant,
        steps=("quantize", "<b>bold</b>"),
        evaluation=evaluation,
        verdict=judge(evaluation, None),
    )


def report(*rows):
    return Report(
        model="chat", version="1.2.0", recipe_sha256="cd" * 32, created_unix_s=1790000000, rows=rows,
        notes=("The source is <script>alert(1)</script>.",),
    )  # fmt: skip


ROWS = (
    row("q8", 0.004, 145, 1.3),
    row("km4", 0.058, 105, 1.3),
    row("q4", 0.3, 92, 2.0),
    row("nl", 0.1, 92, 1.9),
)


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [value for name, value in attributes if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path):
    return write_report(report(*ROWS), tmp_path / "new" / "folder")[1].read_text("utf-8")


def drawings(page):
    return [ET.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>") for part in page.split("<svg")[1:]]


def test_the_json_is_the_report(tmp_path):
    for_programs, _ = write_report(report(*ROWS), tmp_path)
    assert read_report(for_programs) == report(*ROWS)


def test_the_page_needs_nothing_else_and_every_tag_is_closed(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses == []
    assert "script" not in parser.seen
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;bold" in page


def test_plots_say_in_words_what_they_show(page):
    assert len(drawings(page)) == 2
    for drawing in drawings(page):
        assert drawing.get("role") == "img"
        title, text = drawing.findall("title")[0], drawing.findall("desc")[0]
        assert drawing.get("aria-labelledby").split() == [title.get("id"), text.get("id")]
        assert "4 variants; on the Pareto front: " in text.text


def test_the_front_is_of_variants_that_passed(page):
    by_bytes = drawings(page)[0]
    assert by_bytes.findall("desc")[0].text.split("front: ")[1].split(". ")[0] == "nl, km4, q8"
    assert [
        group.find("title").text.split(":")[0]
        for group in by_bytes.iter("g")
        if group.find("path") is not None
    ] == ["q4"]


def test_everything_drawn_is_on_the_drawing(page):
    for drawing in drawings(page):
        for mark in drawing.iter("circle"):
            assert 0 < float(mark.get("cx")) < 640
            assert 0 < float(mark.get("cy")) < 400


def test_memory_is_told_beside_the_bytes(page):
    summary = page.partition("<h2>Variants</h2>")[2].partition("</table>")[0]
    assert '>memory <span class="unit">MB</span></th>' in summary
    assert "<td>290.00</td>" in summary  # 145 MB, twice


def test_what_was_refused_says_why(page):
    assert "kl_mean is 0.3 and may be as high as 0.33; at most 0.12 is allowed" in page
    assert "3 of 4 variants passed their gates" in page


def test_the_default_limit_is_drawn_across(page):
    texts = [text for drawing in drawings(page) for text in drawing.iter("text")]
    assert [text.text for text in texts if text.get("class") == "limit-text"] == ["gate 0.12", "gate 0.12"]


def test_one_variant_or_one_that_was_not_measured_has_tables_and_no_plot(tmp_path):
    broken = row("nan", 0.1, 90, 1.0, kl_mean=Figure(value=None, low=None, high=None))
    page = write_report(report(ROWS[0], broken), tmp_path)[1].read_text("utf-8")
    assert "not a number" in page
    assert "<svg" not in page
