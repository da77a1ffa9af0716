"""Orders to agents: one outbox for each agent, and the key that shows it who speaks.

An order is sent at least once while its agent lives. One that fails is not repeated here: the Dispatcher's sweep
decides again what an agent should do, and an agent that is gone needs no orders.
"""

import logging

from ray_sched.core.distribution import SIZE_BOUNDARIES, Distribution
from ray_sched.core.effects import OrderAgent
from ray_sched.core.messages.agent_dispatcher import AgentOrder, AgentOrders
from ray_sched.wire.auth import agent_key
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_ORDER_TIMEOUT_S = 2.0
_AddressedOrder = tuple[int, AgentOrder]
"""Of which incarnation the agent has to be, and what it shall do."""


class OrderOutboxes:
    """The outboxes of the Dispatcher to all agents it has had an order for."""

    def __init__(self, directory: Directory, secret: bytes) -> None:
        """``secret``: the scheduler's, see ``wire.auth``."""
        self._directory = directory
        self._secret = secret
        self.sizes = Distribution(SIZE_BOUNDARIES)
        """Orders that travelled together."""
        self._by_agent: dict[str, Outbox[_AddressedOrder, None]] = {}

    def put(self, effect: OrderAgent) -> None:
        """Send this order; nobody waits for it."""
        agent = effect.agent
        if agent not in self._by_agent:
            self._by_agent[agent] = Outbox(
                lambda orders: self._send(agent, orders),
                on_lost=lambda orders, error: self._handle_lost(agent, orders, error),
            )
        self._by_agent[agent].put((effect.incarnation, effect.order))

    async def _send(self, agent: str, orders: list[_AddressedOrder]) -> list[None]:
        self.sizes.observe(len(orders))
        peer = self._directory.peer(agent)
        for incarnation in sorted({incarnation for incarnation, _ in orders}):
            own = tuple(order for n, order in orders if n == incarnation)
            key = agent_key(self._secret, agent.removeprefix("agent:"), incarnation)
            raw = encode(AgentOrders(incarnation=incarnation, key=key, orders=own))
            await peer.call("order", raw, timeout_s=_ORDER_TIMEOUT_S)
        return [None] * len(orders)

    def _handle_lost(self, agent: str, orders: list[_AddressedOrder], error: Exception) -> None:
        if isinstance(error, PeerGoneError):
            self._by_agent.pop(agent, None)
        if not isinstance(error, PeerGoneError | PeerUnavailableError):
            log.warning("%d orders failed: %s", len(orders), error)
