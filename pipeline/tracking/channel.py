"""A pipe to a child process that never blocks its owner, never fails it, and holds a bounded amount of memory.

Messages are JSON, one a line. What the child has not read yet waits in the pipe and then in a queue; when that is full too,
further messages are dropped and counted. Only `close` waits, and not beyond its deadline.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

CAPACITY = 8 * 2**20  # bytes that may wait for the child


class Channel:
    """Starts a child process and feeds it.

    Args:
        command: the child's words; it reads messages on its standard input.
        environment: all of its environment.
        capacity: bytes that may wait before messages are dropped.

    Attributes:
        problem: why the child is gone; "" while all is well.
        dropped: messages that found no room.
        said: the last line that the child wrote to its standard error, known after `close`.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, capacity: int = CAPACITY) -> None:
        self.problem = ""
        self.dropped = 0
        self.said = ""
        self._capacity, self._waiting, self._queue = capacity, 0, deque[bytes]()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._child = subprocess.Popen(list(command), env=dict(environment), stdin=subprocess.PIPE, bufsize=0,
                                           stdout=subprocess.DEVNULL, stderr=self._errors, start_new_session=True)  # fmt: skip
        except OSError as error:
            self.problem = f"its process did not start: {error.strerror}"
            self._errors.close()
            return
        assert self._child.stdin is not None
        self._pipe = self._child.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue one message and write what the child can take at once."""
        if self.problem or self._child is None:
            return
        line = json.dumps(message).encode() + b"\n"
        if self._waiting + len(line) > self._capacity:
            self.dropped += 1
        else:
            self._queue.append(line)
            self._waiting += len(line)
        self._pump()

    def close(self, timeout: float) -> int | None:
        """Hand over what waits, close the pipe and wait for the child, all within `timeout` seconds; then kill it.

        Returns:
            The child's exit code; None when it never started or had to be killed.
        """
        if self._child is None:
            return None
        deadline = time.monotonic() + timeout
        while self._queue and not self.problem and (left := deadline - time.monotonic()) > 0:
            select.select([], [self._pipe], [], min(left, 0.5))
            self._pump()
        with contextlib.suppress(OSError):
            self._pipe.close()
        code: int | None = None
        try:
            code = self._child.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self.problem = f"it did not end within {timeout:g} s"
        if code and code < 0:
            self.problem = f"its process was killed (signal {-code})"
        self.said = self._last_words()
        self._errors.close()
        self._child = None
        return code

    def _pump(self) -> None:
        try:
            while self._queue:
                written = os.write(self._pipe.fileno(), self._queue[0])
                self._waiting -= written
                if written < len(self._queue[0]):
                    self._queue[0] = self._queue[0][written:]
                else:
                    self._queue.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.problem = "its process ended"
            self._queue.clear()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
