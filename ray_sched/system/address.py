"""Where the scheduler's Ray is, for commands and clients that join it. Imports neither Ray nor the client."""

import socket

from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import Settings, ray_address_variable
from ray_sched.system.ray_session import use_token
from ray_sched.system.ray_token import is_token_set
from ray_sched.system.start import Note


def find_address(settings: Settings) -> str:
    """Where the scheduler's Ray is: the setting, ``RAY_ADDRESS``, or the ``up`` that runs on this machine.

    If it is the Ray of that ``up``, this process shows its token, unless the variables name one for an address that was
    given. Raises SchedError SCHEDULER_NOT_RUNNING.
    """
    named = settings.address or ray_address_variable()
    note = Note.read(settings.data_dir)
    if named:
        if note and note.token and _is_same(named, note.address) and not is_token_set():
            use_token(note.token)
        return named
    if note is None:
        raise SchedError(
            Code.SCHEDULER_NOT_RUNNING,
            f"no scheduler runs with data in {settings.data_dir}; start one with ray-sched up, or name its --data-dir"
            " or Ray's --address",
        )
    if note.token:
        use_token(note.token)
    return note.address


def _is_same(named: str, address: str) -> bool:
    """Whether an address that a user wrote is that of a note, which is of this machine and has its host as a number."""
    host, _, port = named.rpartition(":")
    their_host, _, their_port = address.rpartition(":")
    if port != their_port:
        return False
    try:
        number = socket.gethostbyname(host)
    except OSError:
        return False
    return number == their_host or number.startswith("127.")
