"""``/``: a page for people, one file without anything from elsewhere. Whoever sees it sees nothing of anybody."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from ray_sched.gateway.gateway import Gateway

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'unsafe-inline' blob:; worker-src blob:; style-src 'unsafe-inline';"
        " connect-src 'self'; media-src blob:; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def router(_gateway: Gateway) -> APIRouter:
    """The route."""
    routes, html = APIRouter(), (files("ray_sched.gateway") / "page.html").read_text(encoding="utf-8")

    @routes.get("/", response_model=None, include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(html, headers=_HEADERS)

    return routes
