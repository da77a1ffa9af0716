"""``/healthz``, ``/readyz`` and ``/metrics``, for balancers and Prometheus: they need no token and tell no secret.

``/metrics`` is of the gateway; ``/metrics/scheduler`` of Dispatcher and Registry, for who does not scrape Ray.
"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ray_sched.gateway.forms import answers
from ray_sched.gateway.gateway import Gateway
from ray_sched.observe.exposition import CONTENT_TYPE, page


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/healthz", response_model=None)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @routes.get("/readyz", response_model=None)
    async def readyz() -> Response:
        if gateway.is_draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics", response_model=None, responses=answers("text/plain"))
    async def metrics() -> Response:
        gateway.meters.look(gateway.limits)
        return Response(gateway.meters.page(), media_type=CONTENT_TYPE)

    @routes.get("/metrics/scheduler", response_model=None, responses=answers("text/plain"))
    async def scheduler() -> Response:
        return Response(page(await gateway.administration.metrics()), media_type=CONTENT_TYPE)

    return routes
