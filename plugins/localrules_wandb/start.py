"""The start and the end of a W&B run, whatever it reports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.utils.text import shell_join, shell_quote
from localrules_wandb.environment import own_settings
from localrules_wandb.login import Decided, Mode, decide_mode

if TYPE_CHECKING:
    from wandb import Run


_HEADER = 7  # bytes


def start_run(asked: Mode, timeout: float, **options: Any) -> tuple[Run, Decided]:
    """Start a run, and say in which mode.

    Args:
        asked: ``auto`` falls back to offline where the server does not answer.
        timeout: Seconds to wait for the server.
        options: For ``wandb.init``.
    """
    mode = decide_mode(asked)
    try:
        return open_run(mode, timeout, **options), mode
    except Exception as error:
        if asked != "auto" or mode != "online":
            raise
        # Logged in but not connected: better kept here than lost.
        say(f"no connection, so the run is kept here ({type(error).__name__})")
        _forget_attempt()
        return open_run("offline", timeout, **options), "offline"


def open_run(mode: Decided, timeout: float, **options: Any) -> Run:
    """Start a run in this mode."""
    import wandb

    _leave_service_of_others()
    if mode != "online":
        # "allow", since a run that was offline until now is not known to the server. Offline, the same id is what
        # joins the parts when they are sent.
        options["resume"] = None
    return wandb.init(
        mode=mode,
        # A run that code of a plugin has started stays as it is, beside ours.
        reinit=None if wandb.run is None else "create_new",
        settings=wandb.Settings(init_timeout=timeout, **own_settings()),
        **options,
    )


def finish_run(run: Run, exit_code: int) -> None:
    """End a run, and say where it is."""
    folder = Path(run.dir).parent
    # Asked before finishing, and only online: W&B warns of the question otherwise.
    url = None if run.offline or run.disabled else run.url
    run.finish(exit_code=exit_code)
    if url:
        say(f"look at it: {url}")
    # A resumed run is in parts, which W&B joins by their id.
    elif parts := sorted(folder.parent.glob(f"offline-run-*-{run.id}*")):
        say(f"look at it: wandb leet {shell_quote(folder)}")
        sent = [part for part in parts if part == folder or _has_records(part)]  # W&B may still be writing its own
        say("send it:    wandb sync " + shell_join(sent))


def _has_records(part: Path) -> bool:
    """Whether an earlier part is more than a header. If one is, as after an early kill, `wandb sync` reads none."""
    return any(file.stat().st_size > _HEADER for file in part.glob("run-*.wandb"))


def say(text: str) -> None:
    """Tell the user something of W&B."""
    print(f"W&B: {text}", file=sys.stderr)


def _leave_service_of_others() -> None:
    import wandb

    # A process shares the W&B service of the one that started it, if that has one. Such a service outlives us, and
    # after a kill it holds on to the run's id for good: the resumed run would not be tracked. Our own dies with us.
    os.environ.pop(wandb.env.SERVICE, None)


def _forget_attempt() -> None:
    import wandb

    # W&B's service holds on to the id of the run that it failed to start.
    wandb.teardown()
