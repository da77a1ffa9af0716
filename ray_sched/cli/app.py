"""The verbs under one roof. Imports no Ray: ``--help`` is fast, and Ray reads its environment when it is imported."""

from importlib.metadata import version
from pathlib import Path

import typer

from ray_sched.cli import (
    audio,
    cancel,
    cleanup,
    dashboards,
    demo,
    doctor,
    down,
    drain,
    engines,
    explain,
    gateway,
    jobs,
    nodes,
    pools,
    status,
    story,
    submit,
    talk,
    token,
    top,
    up,
    wait,
)
from ray_sched.cli.bench import bench
from ray_sched.cli.call import ADDRESS, CONFIG, DATA_DIR, JSON, VERBOSE, CommonOptions, verb
from ray_sched.cli.exit_codes import epilog

app = typer.Typer(
    name="ray-sched",
    help="An actor-model scheduler on Ray for real-time speech jobs. Begin with: ray-sched demo",
    epilog=epilog(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS = (
    demo.demo,
    up.up,
    down.down,
    wait.wait,
    status.status,
    doctor.doctor,
    nodes.nodes,
    engines.engines,
    pools.pools,
    jobs.jobs,
    explain.explain,
    story.story,
    submit.submit,
    talk.talk,
    audio.audio,
    cancel.cancel,
    drain.drain,
    drain.undrain,
    cleanup.cleanup,
    top.top,
    gateway.gateway,
    token.token,
    dashboards.dashboards,
)
"""In the order of ``--help``."""

for body in VERBS:
    app.command()(verb(body))


app.add_typer(bench, name="bench")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"ray-sched {version('ray-sched')}")
        raise typer.Exit


@app.callback()
def before_the_verb(  # one option for each thing that every verb has
    ctx: typer.Context,
    *,
    _version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Print the version, and exit."
    ),
    config: Path | None = CONFIG,
    address: str = ADDRESS,
    json: bool = JSON,
    data_dir: Path | None = DATA_DIR,
    verbose: bool = VERBOSE,
) -> None:
    """Take the common options where they stand before the verb."""
    ctx.obj = CommonOptions(config, address, json, data_dir, verbose)
