from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from edge_node.telemetry import Metrics


def samples(metrics):
    families = text_string_to_metric_families(metrics.page().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_name_that_dashboards_ask_for_is_on_the_page():
    metrics = Metrics(node_id="a", software="1")
    metrics.request_answered(route="/v1/models", model="chat", code=200, duration_s=0.2)
    metrics.first_token(model="chat", after_s=0.3)
    metrics.prompt_started(model="chat", queue_s=0.1, cached_from="memory")
    metrics.tokens(prompt_count=5, cached_count=1, completion_count=7)
    metrics.payload_compressed(raw_bytes=100, zstd_bytes=40)
    metrics.load(model="chat", busy=2, queued=3)
    metrics.artifact_pulled(source="origin", pulled_bytes=10)
    metrics.model_loaded(model="chat", load_s=1.5)
    metrics.origin_seen(up=True)
    metrics.draining(on=True)
    found = samples(metrics)
    assert found["edge_build_info", "1", "a"] == 1
    assert found["edge_requests_total", "/v1/models", "200", "chat"] == 1
    assert found["edge_requests_running", "chat"] == 2
    assert found["edge_requests_waiting", "chat"] == 3
    assert found["edge_request_duration_seconds_count", "/v1/models"] == 1
    assert found["edge_time_to_first_token_seconds_bucket", "0.25", "chat"] == 0
    assert found["edge_time_to_first_token_seconds_bucket", "0.5", "chat"] == 1
    assert found["edge_queue_wait_seconds_count", "chat"] == 1
    assert (found["edge_tokens_total", "prompt"], found["edge_tokens_total", "completion"]) == (5, 7)
    assert (found["edge_payload_bytes_total", "raw"], found["edge_payload_bytes_total", "zstd"]) == (100, 40)
    assert found["edge_artifact_pull_bytes_total", "origin"] == 10
    assert found["edge_model_load_seconds", "chat"] == 1.5
    assert found[("edge_origin_up",)] == found[("edge_drain_state",)] == 1


def test_two_nodes_in_one_process_do_not_mix():
    first, second = (Metrics(node_id=name, software="1") for name in "ab")
    first.tokens(prompt_count=5, cached_count=1, completion_count=0)
    assert ("edge_tokens_total", "prompt") not in samples(second)
