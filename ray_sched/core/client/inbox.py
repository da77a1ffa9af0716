"""A client's place in its mail: which epoch, which events were handled, and what has to be sent again."""

from collections import deque

from ray_sched.core.messages.client_dispatcher import ClientEvent, Mail

_REMEMBERED_EPOCHS = 100


class Inbox:
    """Every event is handled once, however often it comes and whatever mail gets lost.

    Mail comes by two ways, with replies and with polls, so that a mail may overtake an earlier one.
    """

    def __init__(self) -> None:
        self.epoch = ""
        """Of the mail that ``acked`` counts in; empty before the first mail."""
        self.acked = 0
        """Number of the last event that was handled."""
        self.needs_resync = False
        """Some mail is missing: the next poll asks for everything after ``acked`` again."""
        self._past_epochs: deque[str] = deque(maxlen=_REMEMBERED_EPOCHS)

    def is_past(self, epoch: str) -> bool:
        """Whether mail of this epoch is late: going back to it would begin that one and the next anew."""
        return epoch in self._past_epochs

    def begin(self, epoch: str) -> bool:
        """Go on with mail of this epoch. True if another one came before: what was asked in that may not be known."""
        if epoch == self.epoch:
            return False
        is_first = not self.epoch
        if not is_first:
            self._past_epochs.append(self.epoch)
        self.epoch, self.acked = epoch, 0
        return not is_first

    def take(self, mail: Mail) -> tuple[ClientEvent, ...]:
        """The events of a mail of this epoch that were not handled before; none if events before them are missing."""
        first = mail.last - len(mail.events) + 1
        if first > self.acked + 1:
            self.needs_resync = True
            return ()
        n_known = self.acked + 1 - first
        self.acked = max(self.acked, mail.last)
        return mail.events[n_known:] if n_known else mail.events
