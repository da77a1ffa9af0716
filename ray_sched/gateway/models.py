"""``GET /v1/models``: the names that requests may give, all of them the scheduler's engines."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.refusals import RequestError


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/v1/models", response_model=None)
    async def models(request: Request) -> Response:
        gateway.tenants.of(request)
        return JSONResponse({"object": "list", "data": [_model(name) for name in gateway.rules.models]})

    @routes.get("/v1/models/{name}", response_model=None)
    async def model(request: Request, name: str) -> Response:
        gateway.tenants.of(request)
        check_model(gateway, name)
        return JSONResponse(_model(name))

    return routes


def check_model(gateway: Gateway, name: str) -> None:
    """Raises RequestError 404 for a name that is none. No name is right: the engine is the nodes' own."""
    if name and name not in gateway.rules.models:
        known = ", ".join(gateway.rules.models)
        raise RequestError(
            404, f"there is no model {name[:80]!r}; say one of {known}", code="model_not_found", param="model"
        )


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ray_sched"}
