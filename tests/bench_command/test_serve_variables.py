import pytest

from ray_sched.bench import serve_variables
from ray_sched.bench.serve_variables import serve_variables as variables_of


def test_only_http_has_a_haproxy_and_only_the_tuned_have_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_variables, "has_haproxy", lambda: True)
    rivals = ("serve", "serve-value", "serve-http", "serve-tuned", "serve-http-tuned", "raw")
    variables = {rival: variables_of(rival, "/tmp/x") for rival in rivals}  # noqa: S108  # nothing is written there
    with_haproxy = [rival for rival, told in variables.items() if told.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"]
    assert with_haproxy == ["serve-http", "serve-http-tuned"]
    assert [rival for rival, told in variables.items() if "RAY_SERVE_THROUGHPUT_OPTIMIZED" in told] == [
        "serve-tuned",
        "serve-http-tuned",
    ]
    assert variables["serve"] == variables["serve-value"] == variables["raw"] == {}


def test_without_a_haproxy_serve_takes_its_python_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_variables, "has_haproxy", lambda: False)
    assert variables_of("serve-http", "/tmp/x") == {}  # noqa: S108
