import math

import pytest

from ray_sched.client.durations import milliseconds
from ray_sched.core.errors import Code, SchedError


@pytest.mark.parametrize(("seconds", "wanted"), [(0, 0), (0.0015, 2), (1.5, 1_500), (30 * 86_400, 30 * 86_400_000)])
def test_seconds_become_whole_milliseconds(seconds: float, wanted: int) -> None:
    assert milliseconds(seconds, "it") == wanted


@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf, -1, 1e300, 10**400, "1", None])
def test_what_is_no_time_is_refused(what: object) -> None:
    with pytest.raises(SchedError, match="it is a number of seconds up to 2592000, not ") as error:
        milliseconds(what, "it")
    assert error.value.code is Code.INVALID_MESSAGE
