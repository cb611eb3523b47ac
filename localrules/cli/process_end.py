"""The end of the process, also where a thread or an exit function of a plugin would keep it for ever."""

from __future__ import annotations

import os
import threading

THREAD_SECONDS = 10.0
EXIT_SECONDS = 60.0  # exit functions may have something to send


def end_process(code: int) -> None:
    """See that the process, whose work is done, ends with this exit code.

    Python waits for non-daemon threads and for exit functions. It may do so for ``THREAD_SECONDS`` while such
    a thread runs, and for ``EXIT_SECONDS`` in all.
    """
    for seconds, work in ((THREAD_SECONDS, _end_if_threads_run), (EXIT_SECONDS, _end)):
        timer = threading.Timer(seconds, work, (code,))
        timer.daemon = True
        timer.start()


def _end_if_threads_run(code: int) -> None:
    if _running_threads():
        _end(code)


def _end(code: int) -> None:
    left = f"the thread {', '.join(_running_threads())}" if _running_threads() else "an exit function"
    os.write(2, f"Warning: {left} of a plugin does not end; the process ends without it\n".encode())
    os._exit(code)


def _running_threads() -> list[str]:
    threads = [thread for thread in threading.enumerate() if not thread.daemon]
    return [thread.name for thread in threads if thread is not threading.main_thread()]
