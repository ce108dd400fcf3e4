"""Health, readiness and metrics over a real socket."""


async def test_healthz(origin):
    async with origin.session.get("/healthz") as reply:
        assert (reply.status, await reply.json()) == (200, {"status": "ok"})


async def test_readyz_waits_for_the_store_then_serves_stale_and_says_so(origin, store, publish):
    async with origin.session.get("/readyz") as reply:
        assert reply.status == 503
        assert (await reply.json())["catalog"] == {
            "state": "none",
            "age_s": None,
            "problem": "not read yet",
            "releases_count": 0,
        }
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    async with origin.session.get("/readyz") as reply:
        assert reply.status == 200
        assert (await reply.json())["catalog"]["state"] == "fresh"
    store.away = True
    origin.clock.now_s += 30
    async with origin.session.get("/readyz") as reply:
        assert reply.status == 200
        catalog = (await reply.json())["catalog"]
    assert catalog == {
        "state": "stale",
        "age_s": 30.0,
        "problem": "the object store has not answered for 30 s",
        "releases_count": 1,
    }
    async with origin.session.get("/metrics") as reply:
        text = await reply.text()
    assert "origin_catalog_age_seconds 30.0" in text
    assert "origin_catalog_stale 1.0" in text


async def test_metrics_count_nodes_and_requests(origin):
    from origin.api import NodeReport

    for node_id, draining in (("a", False), ("b", True)):
        await origin.client.report(
            NodeReport(node_id=node_id, incarnation=1, url="http://n.example", draining=draining)
        )
    async with origin.session.get("/metrics") as reply:
        assert reply.headers["Content-Type"].startswith("text/plain")
        text = await reply.text()
    assert 'origin_nodes{state="up"} 1.0' in text
    assert 'origin_nodes{state="draining"} 1.0' in text
    assert "origin_reports_total 2.0" in text
    assert (
        'origin_request_duration_seconds_count{method="POST",status="200",url="/v1/nodes/{node_id}/report"} 2.0'
        in text
    )
