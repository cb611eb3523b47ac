"""Work for W&B that waits for its server, on a thread of its own.

Tables and artifacts ask the server something before they are queued: a slow server would hold training up, and one that
is gone would fail the tracker in mid-run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], object]


class BackgroundWork:
    """Runs jobs in order. One that fails is counted, and the others go on.

    Attributes:
        failed: How many jobs have failed.
        error: What the first of them raised.
    """

    def __init__(self) -> None:
        self.failed = 0
        self.error: Exception | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Run a job when those before it are done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="localrules-wandb", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    @property
    def waiting(self) -> bool:
        """Whether a job waits for others."""
        return not self._jobs.empty()

    def finish(self, timeout: float) -> bool:
        """Wait until all jobs are done; whether they are after so many seconds."""
        if self._thread is None:
            return True
        self._jobs.put(None)
        until = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(0.1)  # in short parts: Ctrl-C is heard
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:
                self.failed += 1
                self.error = self.error or error
