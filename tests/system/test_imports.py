"""What a process imports that only asks: a command, a client, an actor that calls another one."""

import subprocess
import sys

OF_THE_ACTORS_ALONE = (
    "ray_sched.core.dispatch.brain",
    "ray_sched.core.nodes.registry",
    "ray_sched.core.leases.pool",
    "ray_sched.agent.host",
    "ray_sched.store",
    "redis",
)
OF_SUBMITTERS = ("ray_sched.client.client", "av")


def imported(*modules: str) -> set[str]:
    """The modules of a process that has imported these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


def test_who_calls_an_actor_imports_its_class_but_not_what_the_actor_alone_is_made_of() -> None:
    known = imported("ray_sched.system.processes")
    assert "ray_sched.actors.dispatcher" in known
    assert known.isdisjoint(OF_THE_ACTORS_ALONE)


def test_a_command_that_asks_imports_neither_the_brain_nor_the_client() -> None:
    known = imported("ray_sched.cli.app", "ray_sched.system.address", "ray_sched.system.start")
    assert known.isdisjoint(("ray", *OF_THE_ACTORS_ALONE, *OF_SUBMITTERS))
