"""One call of the command line: the options every verb has, and how a verb's coroutine becomes a command."""

import asyncio
import functools
import inspect
import logging
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stdout
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer
from rich.markup import escape

from ray_sched.cli.exit_codes import READER_GONE, UNKNOWN, exit_status
from ray_sched.cli.output import Output
from ray_sched.cli.signals import Signals
from ray_sched.core.errors import Code, SchedError
from ray_sched.wire.plain_log import log_plainly

if TYPE_CHECKING:
    from ray_sched.settings import Settings
    from ray_sched.system.start import Scheduler

_PANEL = "Common options"
CONFIG = typer.Option(None, "--config", help="YAML file with settings.", rich_help_panel=_PANEL)
ADDRESS = typer.Option("", "--address", metavar="HOST:PORT", help="Where Ray is.", rich_help_panel=_PANEL)
JSON = typer.Option(False, "--json", help="Print one JSON value.", rich_help_panel=_PANEL)
DATA_DIR = typer.Option(None, "--data-dir", help="Where the scheduler keeps its data.", rich_help_panel=_PANEL)
VERBOSE = typer.Option(False, "--verbose", help="Log more, and show tracebacks.", rich_help_panel=_PANEL)

Body = Callable[..., Awaitable[int | None]]
"""A verb: takes its Call and its own options, returns the exit status."""


class CommonOptions(NamedTuple):
    """The common options, as far as they were given."""

    config: Path | None = None
    address: str = ""
    json: bool = False
    data_dir: Path | None = None
    verbose: bool = False


class Call:
    """What a verb works with."""

    def __init__(self, options: CommonOptions) -> None:
        self._options = options
        self.is_verbose = options.verbose
        self.out = Output(is_json=options.json)
        self.signals = Signals(self.out.stopping)
        self.last_words = "interrupted"
        """The one sentence after Ctrl-C; a verb may have a better one."""

    @cached_property
    def settings(self) -> "Settings":
        """The settings: options go before variables, variables before the file. Raises INVALID_CONFIGURATION."""
        from ray_sched.settings import load_settings, with_home

        data_dir = self._options.data_dir
        given = {"address": self._options.address, "data_dir": with_home(data_dir) if data_dir else None}
        return load_settings(self._options.config).model_copy(update={k: v for k, v in given.items() if v})

    @asynccontextmanager
    async def scheduler(self, *, is_listed: bool = False) -> AsyncIterator["Scheduler"]:
        """The scheduler that runs already. ``is_listed``: this process is in Ray's list of jobs.

        Raises NO_CLUSTER, UNAUTHENTICATED or SCHEDULER_NOT_RUNNING.
        """
        from ray_sched.system.address import find_address
        from ray_sched.system.local import be_impatient
        from ray_sched.system.ray_session import connect_ray, disconnect_ray
        from ray_sched.system.start import Scheduler

        be_impatient()
        connect_ray(find_address(self.settings), self.settings.namespace, is_listed=is_listed)
        try:
            yield Scheduler(self.settings)
        finally:
            disconnect_ray()


def verb(body: Body) -> Callable[..., None]:
    """The command of a verb: its own options and the common ones; errors become a sentence and an exit status."""

    @functools.wraps(body)
    def command(ctx: typer.Context, **options: Any) -> None:
        early: CommonOptions = ctx.obj or CommonOptions()
        late = {name: value for name in CommonOptions._fields if (value := options.pop(name))}
        call = Call(early._replace(**late))
        if status := run_call(call, body, options):
            raise typer.Exit(status)

    own = [_plain(parameter) for parameter in list(inspect.signature(body, eval_str=True).parameters.values())[1:]]
    shared = {"config": Path | None, "address": str, "json": bool, "data_dir": Path | None, "verbose": bool}
    defaults = dict(zip(shared, (CONFIG, ADDRESS, JSON, DATA_DIR, VERBOSE), strict=True))
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *own,
        *(inspect.Parameter(name, keyword, default=defaults[name], annotation=kind) for name, kind in shared.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = escape(inspect.getdoc(body) or "")
    return command


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """Its help as it was written: what stands in brackets is no markup."""
    kind, *infos = get_args(parameter.annotation)
    infos = [copy(info) for info in infos]
    for info in infos:
        info.help = escape(info.help or "")
    return parameter.replace(annotation=Annotated[kind, *infos])


def run_call(call: Call, body: Body, options: dict[str, Any]) -> int:
    """Run a verb to its exit status. Everything but the result goes to stderr."""
    _begin_log(is_verbose=call.is_verbose)
    with redirect_stdout(sys.stderr):
        try:
            status = call.signals.run(_as_coroutine(body, call, options)) or 0
            return status or (exit_status(Code.INVALID_CONFIGURATION) if call.out.is_lost else 0)
        except SchedError as error:
            return _fail(call, error.code, error.message, error.exit_status)
        except asyncio.CancelledError:
            return _interrupted(call)
        except typer.BadParameter:
            raise
        except BrokenPipeError:  # who read stdout wants no more
            return READER_GONE
        except Exception as error:  # noqa: BLE001  # a surprise ends the call, with a sentence instead of a page
            if call.signals.first:  # ``kill`` of a process group takes Ray from under us
                return _interrupted(call)
            if call.is_verbose:
                traceback.print_exc()
            where = "" if call.is_verbose else "; run it again with --verbose for the traceback"
            message = " ".join(str(error).split())[:300]
            return _fail(call, "DEFECT", f"this should not happen: {type(error).__name__}: {message}{where}", UNKNOWN)


def _interrupted(call: Call) -> int:
    return _fail(call, Code.CANCELLED, call.last_words, 128 + (call.signals.first or signal.SIGINT))


async def _as_coroutine(body: Body, call: Call, options: dict[str, Any]) -> int | None:
    return await body(call, **options)


def _fail(call: Call, code: str, sentence: str, status: int) -> int:
    call.out.note(f"ray-sched: {sentence}")
    if call.out.is_json and not call.out.has_shown:
        call.out.show({"error": {"code": code, "message": sentence}})
    return status


def _begin_log(*, is_verbose: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)
    log_plainly()
    logging.getLogger().setLevel(logging.INFO if is_verbose else logging.WARNING)
    logging.getLogger("ray_sched").setLevel(logging.DEBUG if is_verbose else logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.INFO if is_verbose else logging.CRITICAL)
