"""One connection of a session: reads while there is room, and writes while the client reads."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from ray_sched.core.turns.events import LinkChanged
from ray_sched.gateway.realtime.dialect import wish_error_event
from ray_sched.gateway.realtime.session import NORMAL, OVERLOAD, Session
from ray_sched.gateway.realtime.wishes import WishError

_GOODBYES = frozenset({NORMAL, 1001})
"""Close codes of a client that has said all: normal, and a page that was left."""
PATIENCE_S = 30.0
"""How long a client may read nothing, or its session be full, before the connection is closed."""
_MAX_UNSENT_BYTES = 4 * 2**20


class Connection:
    """``serve`` once."""

    def __init__(self, socket: WebSocket, session: Session, has_room: Callable[[], bool]) -> None:
        """``has_room``: whether the session may bring more audio."""
        self._socket = socket
        self._session = session
        self._may_bring = has_room

    async def serve(self) -> bool:
        """Serve until it ends. Returns whether the session has ended with it; else the client may come back."""
        self._session.apply(LinkChanged(is_up=True))
        reading, writing = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())
        both = {reading, writing}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            code = next((task.result() for task in both if task.done()), None)
        except WebSocketDisconnect as gone:
            return gone.code in _GOODBYES
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        with suppress(RuntimeError, WebSocketDisconnect):  # the client has closed it meanwhile
            await self._socket.close(code or NORMAL)
        return True

    async def _read(self) -> int:
        """Messages, as long as the session has room for more. Returns the code to close with."""
        while True:
            if not await self._wait_for_room():
                return OVERLOAD
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or 1006)
            text = message.get("text")
            if text is None:
                error = WishError("a message is text, not bytes; send JSON with the audio in base64")
                self._session.outbox.put(wish_error_event(error, None))
            else:
                self._session.receive(text)

    async def _wait_for_room(self) -> bool:
        session = self._session
        if self._has_room():
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not self._has_room():
                    session.has_room.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(session.has_room.wait(), 0.2)  # others of the tenant free some, too
                return True
        return False

    def _has_room(self) -> bool:
        return self._session.outbox.unsent_bytes <= _MAX_UNSENT_BYTES and self._may_bring()

    async def _write(self) -> int:
        """Events, in order. Returns the code to close with."""
        outbox = self._session.outbox
        while event := await outbox.next():
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._socket.send_text(event.text)
            except TimeoutError:
                return OVERLOAD
            outbox.record_sent(event)
        return self._session.close_code
