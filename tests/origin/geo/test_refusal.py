"""What is said when no node can answer, and when to ask again."""

import pytest

from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.geo.choose import choose
from tests.origin.geo.asking import ask


class TestNobody:
    def test_a_model_that_nobody_knows_is_404_with_near_names(self, fleet, node, catalog):
        view = fleet(node("paris")).view(0.0)
        with pytest.raises(ModelUnknownError, match=r"no model chta; did you mean chat\?") as caught:
            choose(view, ask("chta"), catalog(("chat", "1.0"), ("embed", "1.0")))
        assert caught.value.param == "model"

    def test_a_far_name_lists_what_there_is(self, fleet, catalog):
        with pytest.raises(ModelUnknownError, match="there is chat, embed"):
            choose(fleet().view(0.0), ask("zzz"), catalog(("chat", "1.0"), ("embed", "1.0")))
        with pytest.raises(ModelUnknownError, match="nothing has been published yet"):
            choose(fleet().view(0.0), ask("zzz"), catalog())

    def test_unknown_versions_and_channels_are_named(self, fleet, catalog):
        known = catalog(("chat", "1.0"), channels={"chat": {"stable": "1.0"}})
        with pytest.raises(ModelUnknownError, match=r"chat has no version 9\.0; did you mean 1\.0\?"):
            choose(fleet().view(0.0), ask("chat@9.0"), known)
        with pytest.raises(ModelUnknownError, match=r"chat is on no channel stabel; did you mean stable\?"):
            choose(fleet().view(0.0), ask("chat:stabel"), known)

    def test_known_and_nobody_there(self, fleet, catalog):
        with pytest.raises(NoNodeAvailableError, match="no node has reported") as caught:
            choose(fleet().view(0.0), ask(), catalog(("chat", "1.0"), channels={"chat": {"stable": "1.0"}}))
        assert caught.value.retry_after_s == 2.0

    def test_without_a_catalog_nothing_is_called_unknown(self, fleet):
        with pytest.raises(NoNodeAvailableError, match="cannot read the catalog"):
            choose(fleet().view(0.0), ask("anything"), None)

    def test_what_each_node_is_doing(self, fleet, node, model, catalog):
        view = fleet(
            node("a", models=[model(state="fetching", fetched_bytes=42, fetch_total_bytes=100)]),
            node("b", models=[model(state="failed", detail="out of memory")]),
            node("c", draining=True),
            node("d"),
            node("e", models=[model(state="on_disk")]),
        ).view(0.0)
        with pytest.raises(NoNodeAvailableError) as caught:
            choose(view, ask(exclude=frozenset({"d"})), catalog(("chat", "1.0")))
        for words in (
            "a is fetching 1.0 (42 %)",
            "b could not load 1.0 (out of memory)",
            "c is draining",
            "d was excluded by the client",
            "e has 1.0 on disk",
        ):
            assert words in caught.value.message

    def test_the_wait_follows_the_fetch(self, fleet, node, model, catalog):
        def fetching(done):
            return node("a", models=[model(state="fetching", fetched_bytes=done, fetch_total_bytes=1000)])

        known = fleet(fetching(0))
        known.accept(fetching(100), 2.0)
        with pytest.raises(NoNodeAvailableError) as caught:
            choose(known.view(2.0), ask(), catalog(("chat", "1.0")))
        assert caught.value.retry_after_s == pytest.approx(18.0)

    def test_the_wait_follows_the_load_and_is_never_under_a_second(self, fleet, node, model, catalog):
        known = fleet(node("a", models=[model(state="loading", load_s=8.0)]))
        for now_s, wait_s in ((0.0, 8.0), (2.0, 6.0), (2.9, 5.1)):
            with pytest.raises(NoNodeAvailableError) as caught:
                choose(known.view(now_s), ask(), catalog(("chat", "1.0")))
            assert caught.value.retry_after_s == pytest.approx(wait_s)
