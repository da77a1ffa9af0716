"""Where an engine runs, and how often it is loaded."""

from typing import ClassVar

import pytest

from ray_sched.agent.engine import Engine, Isolation
from ray_sched.agent.layout import Layout, lay_out
from ray_sched.core.agent.batches import BatchLimits
from ray_sched.core.errors import Code, SchedError
from tests.support.engines import BatchEngine, PlainEngine, SharedEngine, ThreadEngine


class LonelyEngine(SharedEngine):
    isolation: ClassVar[Isolation] = "process_per_slot"


class KeylessEngine(PlainEngine):
    def run_batch(self) -> None: ...


@pytest.mark.parametrize(
    ("engine", "options", "slots"),
    [
        (PlainEngine, {}, (1, 1, 1, 1)),
        (SharedEngine, {}, (4,)),
        (SharedEngine, {"replicas": "3"}, (2, 1, 1)),
        (SharedEngine, {"replicas": "9"}, (1, 1, 1, 1)),
        (SharedEngine, {"isolation": "process_per_slot"}, (1, 1, 1, 1)),
        (SharedEngine, {"threads": "3"}, (4,)),
        (BatchEngine, {"replicas": "2"}, (2, 2)),
        (LonelyEngine, {}, (1, 1, 1, 1)),
        (LonelyEngine, {"isolation": "process"}, (4,)),
        (ThreadEngine, {"isolation": "process"}, (4,)),
    ],
)
def test_slots_are_dealt_out_to_processes(
    engine: type[Engine], options: dict[str, str], slots: tuple[int, ...]
) -> None:
    layout = lay_out(engine, options, 4)
    assert (layout.is_in_process, layout.slots, layout.threads) == (True, slots, int(options.get("threads", "0")))


def test_how_much_fits_into_a_batch_is_said_by_the_class_and_before_it_by_the_options() -> None:
    class SmallBatches(BatchEngine):
        max_batch = 3
        max_batch_wait_ms = 7

    assert lay_out(BatchEngine, {}, 4).limits == BatchLimits(max_batch=1024)
    assert lay_out(SmallBatches, {}, 4).limits == BatchLimits(max_batch=3, max_batch_wait_ms=7)
    options = {"max-batch": "2", "max-batch-audio-s": "30", "max-batch-wait-ms": "0"}
    assert lay_out(SmallBatches, options, 4).limits == BatchLimits(max_batch=2, max_batch_audio_ms=30_000)


def test_there_is_one_replica_for_each_gpu_unless_the_option_says_otherwise() -> None:
    assert lay_out(SharedEngine, {}, 4, n_gpus=2).slots == (2, 2)
    assert lay_out(SharedEngine, {"replicas": "1"}, 4, n_gpus=2).slots == (4,)


@pytest.mark.parametrize(("engine", "options"), [(ThreadEngine, {}), (SharedEngine, {"isolation": "thread"})])
def test_threads_share_one_engine_in_the_agents_process(engine: type[Engine], options: dict[str, str]) -> None:
    assert lay_out(engine, options, 4) == Layout(is_in_process=False, slots=(4,))


@pytest.mark.parametrize(
    ("engine", "options", "sentence"),
    [
        (PlainEngine, {"isolation": "cage"}, "'cage' of an engine is unknown; it is one of thread, process"),
        (SharedEngine, {"replicas": "0"}, "option replicas is '0'; it must be a whole number from 1 to 1024"),
        (SharedEngine, {"replicas": "two"}, "option replicas is 'two'"),
        (BatchEngine, {"max-batch": "0"}, "option max-batch is '0'"),
        (BatchEngine, {"max-batch-wait-ms": "-1"}, "it must be a whole number from 0 to 60000"),
        (BatchEngine, {"isolation": "thread"}, "cannot serve 4 slots in one process"),
        (KeylessEngine, {}, "has run_batch but no batch_key"),
        (PlainEngine, {"threads": "all"}, "option threads is 'all'"),
        (PlainEngine, {"replicas": "2"}, "loaded once per slot"),
        (PlainEngine, {"isolation": "thread"}, "cannot serve 4 slots in one process"),
    ],
)
def test_what_makes_no_sense_is_refused(engine: type[Engine], options: dict[str, str], sentence: str) -> None:
    with pytest.raises(SchedError, match=sentence) as caught:
        lay_out(engine, options, 4)
    assert caught.value.code is Code.INVALID_CONFIGURATION


def test_where_a_pass_takes_one_run_an_engine_for_several_threads_has_these_instead_of_batches() -> None:
    class EitherEngine(BatchEngine):
        is_thread_safe = True
        max_batch = 16
        max_batch_without_gpu = 1

    def of(n_gpus: int, **options: str) -> tuple[bool, int]:
        layout = lay_out(EitherEngine, {name.replace("_", "-"): text for name, text in options.items()}, 4, n_gpus)
        return layout.is_batched, layout.limits.max_batch

    assert of(0) == (False, 1)
    assert of(1) == (True, 16)
    assert of(0, max_batch="8") == (True, 8)
    assert of(1, max_batch="1") == (False, 1)
    assert lay_out(BatchEngine, {"max-batch": "1"}, 4).is_batched, "it has no other way to serve several slots"
