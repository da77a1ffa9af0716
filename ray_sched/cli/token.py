"""``ray-sched token``: a new token for the gateway, and what the settings keep of it."""

import secrets
from typing import Annotated

import typer

from ray_sched.cli.call import Call


async def token(
    call: Call,
    tenant: Annotated[str, typer.Argument(help="Whose token it is: jobs of tenants have fair shares.")],
) -> None:
    """Make a token for the gateway. It is shown once; the settings hold its hash under gateway.token_hashes."""
    from ray_sched.gateway.tenants import token_hash

    made = f"rs-{secrets.token_urlsafe(32)}"
    known = token_hash(made)
    page = [f"token: {made}", "for the settings:", "gateway:", "  token_hashes:", f"    {tenant}: {known}"]
    call.out.show({"tenant": tenant, "token": made, "token_hash": known}, *page)
