"""A gateway whose clients join this process's cluster, and its ASGI application for a server of somebody else's."""

from typing import Any

from ray_sched.gateway.app import make_app
from ray_sched.gateway.gateway import Gateway
from ray_sched.settings import Settings, load_settings
from ray_sched.system.api import Client
from ray_sched.system.start import Scheduler


def make_gateway(settings: Settings) -> Gateway:
    """A gateway to the scheduler of these settings. This process has joined its Ray cluster."""
    return Gateway(lambda tenant: Client(settings, tenant=tenant), settings.gateway, Scheduler(settings))


def gateway_app(settings: Settings | None = None) -> Any:
    """The ASGI application of one, such as for ``serve.ingress``."""
    return make_app(make_gateway(settings or load_settings()))
