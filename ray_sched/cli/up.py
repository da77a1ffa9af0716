"""``ray-sched up``: the scheduler in the foreground, with its Redis and, without an address, its Ray."""

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.cli.engine_options import Asr, ComputeType, Engine, Mt, Options, Slots, Tts, with_engine
from ray_sched.cli.exit_codes import INTERRUPTED
from ray_sched.cli.profile_option import Profile, n_expected, with_profile
from ray_sched.core.errors import Code, SchedError

if TYPE_CHECKING:
    from ray_sched.settings import Settings
    from ray_sched.system.running import RunOptions
    from ray_sched.system.start import Scheduler

log = logging.getLogger("ray_sched.up")

_LOOK_S = 1.0
_REPORT_S = 60.0
_OTHERS_LEAVE_S = 10.0
_NODES_S = 30.0


async def up(  # noqa: PLR0913, PLR0917  # one parameter per thing a user may say of it
    call: Call,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Nodes of the Ray that is started here; else as many as local.nodes."),
    ] = None,
    drain_s: Annotated[
        float, typer.Option("--drain-s", min=0, help="Running jobs may take this long at the end.")
    ] = 10,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Start no dashboard of Ray's.")] = False,
    dashboards: Annotated[
        bool, typer.Option("--dashboards", help="Put Grafana dashboards of the scheduler beside Ray's own.")
    ] = False,
    engine: Engine = None,
    slots: Slots = None,
    asr_model: Asr = "",
    mt_model: Mt = "",
    tts_model: Tts = "",
    compute_type: ComputeType = "",
    option: Options = None,
    profile: Profile = "",
    gateway: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Serve OpenAI's audio API there, too, on gateway.nodes.")
    ] = "",
) -> int:
    """Run the scheduler until Ctrl-C, SIGTERM or ray-sched down.

    It joins the Ray cluster of --address or RAY_ADDRESS (which ray job submit sets), or starts a Ray on this machine.
    Ctrl-C or SIGTERM lets running jobs end; a second one does not wait for them.
    """
    from ray_sched.cli.local_nodes import for_one_machine
    from ray_sched.settings import ray_address_variable
    from ray_sched.system.local import without_colours
    from ray_sched.system.running import running

    logging.getLogger("ray_sched").setLevel(logging.DEBUG if call.is_verbose else logging.INFO)
    named = {"asr-model": asr_model, "mt-model": mt_model, "tts-model": tts_model, "compute-type": compute_type}
    settings = with_engine(call.settings, engine, slots, named, option)
    address = settings.address or ray_address_variable()
    settings = with_profile(settings, profile, (engine, slots, option, *named.values()), is_local=not address)
    _refuse_early(settings, gateway)
    _refuse_engine(address, engine, slots)
    settings = settings if address else for_one_machine(settings, nodes)
    if not call.out.is_terminal:
        without_colours()
    options = _run_options(settings, address, has_dashboard=not no_dashboard)
    try:
        async with running(settings, options, lambda step: log.info("%s", step)) as scheduler:
            if not address:
                await _wait_for_nodes(scheduler, n_expected(settings))
            with call.signals.captured() as signals:
                await _greet(call, settings, scheduler, address, await _gateways(scheduler, gateway, drain_s))
                if dashboards:
                    _write_dashboards()
                await _serve(scheduler, signals)
                await _drain(scheduler, signals, drain_s)
    except asyncio.CancelledError:  # a signal while it was starting: everything started has been stopped
        log.info("called off while starting")
    log.info("stopped")
    return INTERRUPTED if call.signals.first == signal.SIGINT else 0


def _run_options(settings: "Settings", address: str, *, has_dashboard: bool) -> "RunOptions":
    from ray_sched.cli.local_nodes import local_nodes
    from ray_sched.system.running import RunOptions

    return RunOptions(
        address=address,
        local_nodes=() if address else local_nodes(settings.local),
        drain_s=0,
        log_to_driver=True,
        has_note=True,
        is_head_a_node=True,
        dashboard_port=settings.local.dashboard_port if has_dashboard else 0,
        has_rays_token=True,
    )


def _refuse_engine(address: str, engine: str | None, slots: int | None) -> None:
    if address and (engine or slots):
        raise typer.BadParameter(
            f"the nodes of {address} say by their labels which engine they have: leave --engine and --slots out"
        )


async def _gateways(scheduler: "Scheduler", where: str, drain_s: float) -> list[str]:
    """Start those that are asked for; where they listen."""
    return await scheduler.start_gateways(where, drain_s) if where else []


def _refuse_early(settings: "Settings", gateway: str) -> None:
    """What would be refused when all else has been started is refused before."""
    _refuse_second(settings)
    if gateway:
        from ray_sched.cli.gateway import needs_gateway

        with needs_gateway():
            from ray_sched.gateway.serving import check_place

            check_place(gateway, has_tokens=bool(settings.gateway.token_hashes))


def _refuse_second(settings: "Settings") -> None:
    from ray_sched.system.start import Note

    note = Note.read(settings.data_dir)
    if note:
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            f"an up (process {note.pid}) runs on {settings.data_dir} already; stop it with ray-sched down, or use"
            " another --data-dir",
        )


async def _wait_for_nodes(scheduler: "Scheduler", n_nodes: int) -> None:
    """So that who reads the greeting can submit at once. A node that does not get ready is no reason to stop."""
    try:
        await scheduler.wait_for_nodes(n_nodes, _NODES_S)
    except SchedError as error:
        log.warning("%s", error)


async def _greet(call: Call, settings: "Settings", scheduler: "Scheduler", address: str, gateways: list[str]) -> None:
    """Say what runs and how it is reached."""
    from ray_sched.system.ray_session import dashboard_url
    from ray_sched.system.start import Note

    note = Note.read(settings.data_dir)
    where = note.address if note else address
    whose = "joined" if address else f"started here with {settings.local.nodes} nodes"
    redis = settings.store.redis_url.rpartition("@")[2] or f"embedded in {settings.data_dir}"
    dashboard = dashboard_url()
    log.info("the scheduler is up; Ray at %s (%s), Redis %s", where, whose, redis)
    if dashboard:
        log.info("Ray's dashboard is at %s; sign in with the token that ray get-auth-token prints", dashboard)
    log.info(
        "from another shell: ray-sched submit FILE --from en, ray-sched status, ray-sched down%s", _reached(settings)
    )
    for url in gateways:
        log.info("a gateway listens on %s/v1, with a page for people on %s", url, url)
    await _report(scheduler)
    if call.out.is_json:
        call.out.show({
            "address": where, "namespace": settings.namespace, "data_dir": str(settings.data_dir),
            "redis": redis, "dashboard": dashboard, "gateways": gateways,
        })  # fmt: skip


def _write_dashboards() -> None:
    from ray_sched.observe.provision import write_dashboards
    from ray_sched.system.ray_session import grafana_folder

    folder = grafana_folder()
    log.info("%d Grafana dashboards are in %s", len(write_dashboards(folder)), folder)


def _reached(settings: "Settings") -> str:
    """What the other commands need to find this one."""
    from ray_sched.settings import default_data_dir

    is_default = settings.data_dir == default_data_dir()
    return "" if is_default else f"; each with --data-dir {settings.data_dir.absolute()}"


async def _serve(scheduler: "Scheduler", signals: "asyncio.Queue[int]") -> None:
    """Report once a minute until a signal comes or somebody has stopped it. Raises SchedError if it ends otherwise."""
    signalled = asyncio.ensure_future(signals.get())
    loop = asyncio.get_running_loop()
    report_at = loop.time() + _REPORT_S
    try:
        while not (await asyncio.wait([signalled], timeout=_LOOK_S))[0]:
            if not await scheduler.is_running():
                await _check_end(scheduler)
                log.info("the scheduler was stopped by ray-sched down")
                return
            if loop.time() >= report_at:
                report_at += _REPORT_S
                await _report(scheduler)
    finally:
        signalled.cancel()


async def _check_end(scheduler: "Scheduler") -> None:
    """Raises SCHEDULER_NOT_RUNNING if nobody has ended it: whoever supervises ``up`` is to start it again."""
    if not await scheduler.was_ended():
        raise SchedError(
            Code.SCHEDULER_NOT_RUNNING,
            "the scheduler's Dispatcher has ended though nobody has stopped it; its log is in Ray's folder of logs, and"
            " another up takes its jobs up again",
        )


async def _report(scheduler: "Scheduler") -> None:
    try:
        view, rows = await scheduler.status(), await scheduler.nodes()
    except SchedError as error:
        log.warning("%s", error)
        return
    jobs = ", ".join(f"{n} {name}" for name, n in view.jobs.items() if n) or "none"
    n_ready = sum(row.status == "ready" for row in rows)
    sentence = "jobs: %s; nodes: %d of %d ready; slots: %d of %d free; backlog: %d"
    log.info(sentence, jobs, n_ready, len(rows), view.free_slots, view.slots, view.waiting)
    for row in rows:
        if row.threshold:
            log.warning("%s gets no new work: %s", row.node, row.threshold)


async def _drain(scheduler: "Scheduler", signals: "asyncio.Queue[int]", drain_s: float) -> None:
    """Stop the scheduler gently; a second signal stops waiting. What is left then, ``running`` ends."""
    if not await scheduler.is_running():
        await _let_down_finish(scheduler)
        return
    log.info("stopping; running jobs may take %g s more, or press Ctrl-C again", drain_s)
    stopping = asyncio.ensure_future(scheduler.stop(drain_s))
    signalled = asyncio.ensure_future(signals.get())
    await asyncio.wait([stopping, signalled], return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        n_left = await stopping
        if n_left:
            log.warning("%d jobs had not ended", n_left)
    stopping.cancel()
    signalled.cancel()
    await asyncio.gather(stopping, signalled, return_exceptions=True)


async def _let_down_finish(scheduler: "Scheduler") -> None:
    """``down`` is connected to the Ray that we are about to end: it comes first."""
    try:
        async with asyncio.timeout(_OTHERS_LEAVE_S):
            while not await scheduler.is_gone():  # noqa: ASYNC110  # Ray has no event for it
                await asyncio.sleep(_LOOK_S / 10)
    except TimeoutError:
        return
    await asyncio.sleep(_LOOK_S)
