"""What counts as left behind in the object store."""

import pytest

from ray_sched.system.store_stats import StoreStats
from tests.chaos.report import audio_bytes_left


@pytest.mark.parametrize(
    ("n_bytes", "n_objects", "left"),
    [(0, 0, 0), (6, 3, 0), (1, 1, 0), (300, 1, 300), (302, 3, 302), (-20, -1, 0), (6, 0, 6)],
    ids=["nothing", "three markers", "one", "a batch", "a batch beside markers", "less than before", "no object"],
)
def test_only_the_marks_of_failed_fetches_may_stay_in_the_store(n_bytes: int, n_objects: int, left: int) -> None:
    before = StoreStats(bytes_used=100, n_objects=2)
    now = StoreStats(bytes_used=100 + n_bytes, n_objects=2 + n_objects)
    assert audio_bytes_left(before, now) == left
