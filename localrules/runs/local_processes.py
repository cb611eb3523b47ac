"""The processes of a run on this machine, started and watched by its main process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist

from localrules.config.schema import RunConfig
from localrules.engine.resolve import resolve_config
from localrules.engine.resolved_run import ResolvedRun
from localrules.errors import error_message, error_of
from localrules.registry.registry import Registry
from localrules.runs.processes import ANSWER_SECONDS, Processes, follow, is_of_lost_connection, leave_group
from localrules.utils.child_process import start_child

GRACE_SECONDS = 15.0
"""For how long the main process may go on when another is dead, before it is ended whatever it is doing."""

MAIN_SECONDS = 1.0
"""For how long another process that fails looks whether the main one has ended: it can lose the connection first."""

LOOPBACK = "lo"  # Linux's name


class LocalProcesses(Processes):
    """The processes of a run on this machine; this one is rank 0.

    The others are made by a fork server, so they start at once, import nothing of the user's script, and share no
    thread or lock with this process. Each holds a pipe to this process: it ends when that breaks, and says
    through it why it fails.
    """

    def __init__(self, run: ResolvedRun, registry: Registry, folder: Path | None = None) -> None:
        super().__init__(run, registry, folder)
        self._children: dict[int, tuple[BaseProcess, Connection]] = {}
        self._said: dict[int, Any] = {}
        self._environment: dict[str, str | None] = {}
        self._over = threading.Event()

    def start(self) -> None:
        count = self._run.config.devices
        # It listens at a port that the system chooses, so two runs cannot meet at one.
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the one above
            "TORCHELASTIC_RESTART_COUNT": "0",
        }
        if sys.platform.startswith("linux"):
            shared["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)
        for rank in range(1, count):
            environment = {**os.environ, **shared, **_rank(rank)}
            self._children[rank] = start_child(
                _serve,
                (rank, environment, os.getcwd(), self._run.config, self._registry.files, self.folder),
                [__name__, "lightning_fabric"],
            )
        own = shared | _rank(0)
        self._environment = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        threading.Thread(target=self._watch, daemon=True).start()
        import lightning_fabric  # noqa: F401  # while the others do so

        self._wait_until_ready()

    def explain(self, error: BaseException) -> BaseException:
        lost = is_of_lost_connection(error) or isinstance(error, _Dead)
        deadline = time.monotonic() + (ANSWER_SECONDS if lost else 0)
        while True:
            dead = self._dead()
            failures = {rank: said for rank, said in self._said.items() if isinstance(said, dict)}
            if lost and failures:
                rank, failure = min(failures.items())
                return error_of({**failure, "what": f"rank {rank}: {failure['what']}"})
            if not lost:
                return error
            if dead:
                return self.lost(dead, self._ends(dead))
            silent = [rank for rank in self._children if rank not in self._said or self._said[rank] == "ready"]
            if time.monotonic() > deadline:
                return self.lost(silent, f"it did not answer within {self._run.config.process_timeout:g} s")
            if not silent:
                seconds = self._run.config.process_timeout
                why = f"they lost their connections; one may have waited for more than {seconds:g} s for an evaluation"
                return self.lost([], f"{why}: --set process_timeout={2 * seconds:g} lets a resumed run wait longer")
            time.sleep(0.05)

    def end(self, *, failed: bool) -> None:
        self._over.set()
        leave_group()
        for process, link in self._children.values():
            if not failed:
                process.join(ANSWER_SECONDS)
            process.kill()
            process.join()
            link.close()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _wait_until_ready(self) -> None:
        while any(self._said.get(rank) != "ready" for rank in self._children):
            wait([process.sentinel for process, _ in self._children.values()] + self._open_links(), timeout=1)
            if self._dead() or any(isinstance(said, dict) for said in self._said.values()):
                raise _Dead

    def _listen(self) -> None:
        """Note what the other processes have said last."""
        for rank, (_, link) in self._children.items():
            with suppress(EOFError, OSError):
                while link.poll():
                    self._said[rank] = link.recv()

    def _open_links(self) -> list[Any]:
        return [link for rank, (_, link) in self._children.items() if self._said.get(rank) is None]

    def _dead(self) -> list[int]:
        """The processes that have ended without a word."""
        ended = [rank for rank, (process, _) in self._children.items() if not process.is_alive()]
        self._listen()  # afterwards, so that nothing that they have said is missed
        return [rank for rank in ended if self._said.get(rank) in (None, "ready")]

    def _ends(self, ranks: list[int]) -> str:
        codes = [self._children[rank][0].exitcode or 0 for rank in ranks]
        named = [
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}" for code in codes
        ]
        return f"its process {' and '.join(dict.fromkeys(named))}"

    def _watch(self) -> None:
        """End this process where another is dead and this one does not come to notice."""
        watched = {rank: process for rank, (process, _) in self._children.items()}
        while watched and not self._over.is_set():
            wait([process.sentinel for process in watched.values()], timeout=1)
            for rank in [rank for rank, process in watched.items() if not process.is_alive()]:
                if watched.pop(rank).exitcode != 0 and not self._over.wait(GRACE_SECONDS):
                    os.write(2, f"Error   {self.lost([rank], self._ends([rank]))}\n".encode())
                    os._exit(1)


class _Dead(Exception):
    """A process has ended before the run began."""


def _rank(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _serve(
    rank: int,
    environment: Mapping[str, str],
    place: str,
    config: RunConfig,
    files: tuple[str, ...],
    folder: Path | None,
    link: Connection,
) -> None:
    """In another process: take part in the run."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the main one decides
    with suppress(OSError):
        os.dup2(2, 1)
    warnings.simplefilter("ignore")  # the main process gives the same
    registry = Registry.from_plugins(files)
    run = resolve_config(config, registry)
    processes = Processes(run, registry, folder)
    watcher = threading.Thread(target=_end_with_main, args=(rank, processes, link), daemon=True)
    watcher.start()
    try:
        import lightning_fabric  # noqa: F401  # before the others wait for it

        link.send("ready")
        follow(processes, run, registry)
        link.send("done")
        leave_group()
    except BaseException as error:
        with suppress(OSError):
            link.send(_failure(error))
        watcher.join(MAIN_SECONDS)  # if the main process has gone, the thread reports it, and ends this one
        os._exit(1)  # soon: others may wait for this process alone, and learn by its end that it has failed


def _failure(error: BaseException) -> Any:
    """The message to the main process: that the others are lost, or what has failed."""
    if is_of_lost_connection(error):
        return "lost"
    return error_message(error, "the process failed")


def _end_with_main(rank: int, processes: Processes, link: Connection) -> None:
    """End this process when the main one has gone."""
    with suppress(EOFError, OSError):
        link.recv()
    if rank == 1:
        os.write(2, f"Error   {processes.lost([0], 'its process has ended')}\n".encode())
    os._exit(1)
