"""``ray-sched dashboards``: what Grafana and Prometheus need to show the scheduler."""

from pathlib import Path
from typing import Annotated

import typer

from ray_sched.cli.call import Call


async def dashboards(
    call: Call,
    folder: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", help="Write the files there; without it list them.")
    ] = None,
) -> None:
    """Write Grafana dashboards, Prometheus alert rules and a PrometheusRule manifest. Needs no cluster."""
    from ray_sched.observe.alerts import ALERTS
    from ray_sched.observe.pages import DASHBOARDS
    from ray_sched.observe.provision import write_all

    if folder is not None:
        written = write_all(folder)
        call.out.show({"written": [str(path) for path in written]}, *(str(path) for path in written))
        return
    pages = [f"{page.title}: {sum(len(row.panels) for row in page.rows)} panels" for page in DASHBOARDS]
    call.out.show(
        {"dashboards": [page.title for page in DASHBOARDS], "alerts": [alert.name for alert in ALERTS]},
        *pages,
        f"{len(ALERTS)} alerts; write all of it with ray-sched dashboards --write DIR",
    )
