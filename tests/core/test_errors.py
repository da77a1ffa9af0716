"""A refusal that becomes an exception, and back."""

import pickle

import pytest

from ray_sched.core.errors import Code, Refusal, SchedError

FULL = Refusal(code=Code.OVERLOADED, message="too many jobs wait", retry_after_ms=500)


def test_an_error_says_the_sentence_and_is_the_refusal_it_was_made_of() -> None:
    error = SchedError.of(FULL)
    assert (str(error), error.code, error.message, error.retry_after_ms) == (
        "too many jobs wait",
        Code.OVERLOADED,
        "too many jobs wait",
        500,
    )
    assert error.refusal == FULL


def test_an_error_that_names_no_time_does_not_end_by_waiting() -> None:
    assert SchedError(Code.CANCELLED, "it was cancelled").refusal.retry_after_ms == 0


def test_an_error_crosses_a_process_as_it_is() -> None:
    crossed = pickle.loads(pickle.dumps(SchedError.of(FULL)))  # noqa: S301  # our own bytes
    assert isinstance(crossed, SchedError)
    assert (str(crossed), crossed.refusal) == ("too many jobs wait", FULL)


@pytest.mark.parametrize(("code", "status"), [(Code.OVERLOADED, 8), (Code.POISON_JOB, 17), (Code.ENGINE_FAILED, 1)])
def test_the_command_line_exits_with_the_code_s_status_or_one(code: Code, status: int) -> None:
    assert SchedError(code, "no").exit_status == status
