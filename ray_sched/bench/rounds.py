"""Who is compared, and in which order: in each round every contestant has one trial, with the machine for itself.

A trial is a cluster of its own that is gone before the next one begins (``trial_process``), so nobody pays for the idle
processes of others. The order moves on by one from round to round, so a slow minute hits them all alike.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.environment import EnvironmentPlan, check_rivals
from ray_sched.bench.own_contestant import OwnContestant
from ray_sched.bench.report import Result, median_of
from ray_sched.bench.trial import Trial, TrialResult
from ray_sched.bench.trial_process import in_a_process
from ray_sched.settings import Settings

T = TypeVar("T")


class Contest(Struct, frozen=True, kw_only=True):
    """Who is compared, where, how often and in what."""

    rivals: Sequence[str]
    """Beside the scheduler."""
    n_rounds: int
    environment: EnvironmentPlan
    trial: Trial


async def hold(contest: Contest, settings: Settings, notify: Notify) -> dict[str, list[TrialResult]]:
    """The trials of the scheduler and its rivals, by name, the scheduler first. Raises as ``check_rivals``."""
    check_rivals(contest.rivals)

    async def run_trial(name: str, number: int) -> TrialResult:
        def notify_of_round(step: str) -> None:
            notify(f"round {number} of {contest.n_rounds}: {step}")

        return await in_a_process(settings, name, contest.environment, contest.trial, notify_of_round)

    return await rounds([OwnContestant.name, *contest.rivals], contest.n_rounds, run_trial)


async def rounds(
    names: Sequence[str], n_rounds: int, run_trial: Callable[[str, int], Awaitable[T]]
) -> dict[str, list[T]]:
    """The results of each one's trials; ``run_trial`` is given the contestant and the number of the round, from 1."""
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(n_rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            results[name].append(await run_trial(name, number + 1))
    return results


def results_by_in_flight(results: Mapping[str, Sequence[TrialResult]]) -> dict[str, dict[str, Result]]:
    """By number in flight and contestant, the medians over its trials."""
    first = next(iter(results.values()))[0]
    return {
        str(in_flight): {name: median_of([one.closed[in_flight] for one in each]) for name, each in results.items()}
        for in_flight in first.closed
    }


def notes_of(results: Mapping[str, Sequence[TrialResult]]) -> dict[str, str]:
    """What each contestant is."""
    return {name: each[0].note for name, each in results.items()}
