"""One connection to Redis: a batch of commands out, their replies back, in a bounded time. Knows no keys.

It drives redis-py's ``Connection`` (sockets, TLS, passwords, reply parsing) and leaves out redis-py's client and
pipeline, which cost two to four times the CPU (redis-py 8.1, hiredis 3.5, unix socket: 45 to 80 us instead of 150 to
170 us for a commit of one job, 0.24 to 0.42 ms instead of 0.5 to 1.6 ms for 64; ``tests/benchmarks/commit.py``).
"""

import asyncio
import logging
import os
import secrets
from contextlib import suppress
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.ports import StoreDownError
from ray_sched.store.commands import Command

log = logging.getLogger(__name__)

READ_SIZE_BYTES: Final = 1 << 16
CONNECT_FACTOR: Final = 5
"""Connecting may take so many times as long as an exchange: it takes several, and none of them is a caller's."""


class PasswordRefusedError(StoreDownError):
    """Redis wants a user or password other than the one in the address."""


class StoreConnection:
    """A connection that makes itself again when it broke. One exchange at a time; others wait, within their bound.

    An exchange that was cut short (time-out, cancellation) costs the connection, so its replies can never be taken
    for those of the next one. And its commands can never be carried out after those of the next one, though they may
    still sit in a buffer: before anything else, the new connection tells Redis to kill the old one.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.place, self._connection = _connection(url, timeout_s)
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._connecting: asyncio.Task[None] | None = None
        self._client_id: int | None = None
        self._id_in_doubt: int | None = None
        self._is_closed = False

    async def exchange(self, *commands: Command) -> list[Any]:
        """Send the commands in one write and return their replies; an error reply is an exception in the list.

        Raises :class:`StoreDownError` after ``timeout_s`` seconds at most, waiting for other exchanges included. Only
        the first on a new connection may take as long once more: else one that is slow to make would be cut each time.
        """
        try:
            async with asyncio.timeout(self._timeout_s) as bound, self._lock:
                if await self._make_ready():
                    bound.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                return await self._exchange(commands)
        except TimeoutError:
            raise StoreDownError(f"{self.place} gave no answer within {self._timeout_s:g} s") from None
        except (RedisError, OSError) as error:
            if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
                raise PasswordRefusedError(f"{self.place} refused the password") from None
            raise StoreDownError(f"{self.place}: {error}") from error

    async def close(self) -> None:
        """Hang up for good once the exchange under way has ended, within the bound."""
        self._is_closed = True
        async with self._lock:
            if self._connecting is not None:
                self._connecting.cancel()
                await asyncio.gather(self._connecting, return_exceptions=True)
            with suppress(RedisError):
                await self._connection.disconnect()

    async def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        try:
            return await self._round_trip(commands)
        except BaseException:
            await self._drop()
            raise

    async def _make_ready(self) -> bool:
        """Connect if need be: True. One connecting serves all: what outlasts a caller's bound goes on for the next."""
        if self._is_closed:
            raise StoreDownError(f"the store at {self.place} was closed")
        if self._connecting is None:
            if self._connection.is_connected and not await self._connection.can_read():
                return False
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        await asyncio.shield(self._connecting)
        return True

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        """Forget the attempt to connect; its error was raised to every caller that waited, and there may be none."""
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()

    async def _connect(self) -> None:
        """A fenced connection: what the previous one left half done stays undone from now on."""
        self._client_id = None  # if Redis hung up, then while nothing was under way: nothing in doubt
        try:
            async with asyncio.timeout(CONNECT_FACTOR * self._timeout_s):
                await self._connection.disconnect(nowait=True)
                await self._connection.connect()  # type: ignore[no-untyped-call] # redis-py annotates it only in part
                await self._fence()
        except BaseException:
            await self._drop()
            raise

    async def _fence(self) -> None:
        (own_id,) = await self._round_trip((("CLIENT", "ID"),))
        if self._id_in_doubt is not None:
            await self._kill(str(self._id_in_doubt))
        self._id_in_doubt, self._client_id = None, own_id

    async def _kill(self, client_id: str) -> None:
        """End the previous connection in Redis. By id and name: a restarted Redis gives old ids to new clients."""
        (listed,) = await self._round_trip((("CLIENT", "LIST", "ID", client_id),))
        if isinstance(listed, bytes) and f" name={self._connection.client_name} ".encode() in listed:
            (listed,) = await self._round_trip((("CLIENT", "KILL", "ID", client_id),))
        if isinstance(listed, NoPermissionError):
            log.warning("%s forbids CLIENT LIST or KILL: an interrupted commit may be carried out late", self.place)

    async def _round_trip(self, commands: tuple[Command, ...]) -> list[Any]:
        packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type] # its stub is wrong
        await self._connection.send_packed_command(packed, check_health=False)
        return [await self._reply() for _ in commands]

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:  # the others' replies still have to be read
            return error

    async def _drop(self) -> None:
        if self._client_id is not None:
            self._id_in_doubt, self._client_id = self._client_id, None
        with suppress(RedisError):
            await self._connection.disconnect(nowait=True)


def _connection(url: str, timeout_s: float) -> tuple[str, AbstractConnection]:
    """The place as shown to people, without its password, and the connection, not yet made."""
    forced: dict[str, Any] = {
        "socket_timeout": None,  # StoreConnection bounds whole exchanges; redis-py would start a timer for every reply
        "socket_connect_timeout": timeout_s,
        "socket_read_size": READ_SIZE_BYTES,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
        "driver_info": None,
        "client_name": f"ray_sched:{os.getpid()}:{secrets.token_hex(4)}",
    }
    try:
        options: dict[str, Any] = {**parse_url(url), **forced}
        connection: AbstractConnection = options.pop("connection_class", Connection)(**options)
    except (ValueError, TypeError):  # its text may hold the password
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            "store.redis_url cannot be read; write redis://[[user]:password@]host[:port][/db], rediss://... or "
            "unix:///path/to/socket, with special characters of the password percent-encoded",
        ) from None
    return _place(options), connection


def _place(options: dict[str, Any]) -> str:
    if "path" in options:
        return f"Redis at {options['path']}"
    return f"Redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}"
