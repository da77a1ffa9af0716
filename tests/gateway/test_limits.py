"""How much may be in hand at once, and how much audio a tenant may bring in a minute."""

from typing import Any

import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.limits import Limits
from ray_sched.settings import GatewayRules


def limits(**rules: Any) -> Limits:
    return Limits(GatewayRules(**rules))


def refusal(limits: Limits, tenant: str, audio_ms: int, now_ms: int) -> SchedError:
    with pytest.raises(SchedError) as caught:
        limits.bring_audio(tenant, audio_ms, now_ms)
    assert caught.value.code is Code.OVERLOADED
    return caught.value


def test_a_minute_of_audio_may_come_at_once_and_the_next_when_it_is_forgotten() -> None:
    door = limits(audio_s_per_minute=120)
    door.bring_audio("acme", 119_000, 0)
    door.bring_audio("acme", 61_000, 0)  # taken whole, since not all of the minute's was there before
    assert refusal(door, "acme", 1, 0).retry_after_ms == 30_001, "60 s too much, 2 s are forgotten in each second"
    refusal(door, "acme", 1, 29_999)
    door.bring_audio("acme", 1_000, 30_001)
    door.bring_audio("bolt", 100_000, 0)


def test_what_was_estimated_is_put_right_when_it_is_known() -> None:
    door = limits(audio_s_per_minute=60)
    door.bring_audio("acme", 1_000, 0)
    door.correct_audio("acme", 100_000)
    refusal(door, "acme", 1, 0)
    door.correct_audio("acme", -100_000)
    door.bring_audio("acme", 1_000, 0)


def test_nobody_waits_longer_than_ten_minutes_to_ask_again() -> None:
    door = limits(audio_s_per_minute=1)
    door.bring_audio("acme", 3_600_000, 0)
    assert refusal(door, "acme", 1, 0).retry_after_ms == 600_000


def test_without_a_rate_as_much_comes_as_comes() -> None:
    door = limits()
    for _ in range(3):
        door.bring_audio("acme", 10**9, 0)


def test_each_tenant_has_its_own_sessions() -> None:
    door = limits(max_sessions=1)
    door.open_session("acme")
    door.open_session("bolt")
    with pytest.raises(SchedError, match="1 sessions are open"):
        door.open_session("acme")
    door.close_session("acme")
    assert door.n_sessions == 1
    door.open_session("acme")


def test_bodies_of_all_requests_together_have_a_limit() -> None:
    door = limits(max_held_mb=1)
    door.hold(2**20)
    with pytest.raises(SchedError, match="requests of 1 MiB are being answered"):
        door.hold(1)
    door.let_go(2**20)
    door.hold(1)
    assert door.held_bytes == 1


def test_requests_at_once_have_a_limit_and_give_their_place_back() -> None:
    door = limits(max_requests=1)
    with door.request(), pytest.raises(SchedError, match="1 requests are being answered"), door.request():
        pass
    with door.request():
        assert door.n_requests == 1
    assert door.n_requests == 0
