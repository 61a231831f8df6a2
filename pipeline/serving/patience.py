"""End connections that ask nothing: uvicorn waits without an end for the head of a request.

Its own limit (`timeout_keep_alive`) begins after an answer and ends with the next byte, so a client that says nothing, or half a
head, would hold one of the connections for ever; so would one that goes on sending a body after it has been refused.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Patient(H11Protocol):
    """HTTP/1.1 with an end to waiting.

    Attributes:
        patience: seconds, from the connection, or from the first byte after an answer, until the head of a request is whole.
    """

    patience = 10.0
    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection, on which nothing has been asked."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes, which may begin a request or not."""
        super().data_received(data)
        if self._asked():
            self._stop()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._stop()
        super().connection_lost(exc)

    def _asked(self) -> bool:
        """Whether a request has begun that has no whole answer yet."""
        return not getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request

    def _wait(self) -> None:
        if self.waiting is None and not self.transport.is_closing():
            self.waiting = self.loop.call_later(self.patience, self._end)

    def _stop(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _end(self) -> None:
        self.waiting = None
        if not self._asked():
            self.transport.close()


def patient(seconds: float) -> type[Patient]:
    """A protocol for `uvicorn.Config(http=...)` that waits so long for the head of a request."""

    class Limited(Patient):
        patience = seconds

    return Limited
