"""Whether this user is logged in to W&B, found out without a network and without a question."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["auto", "online", "offline"]
Decided = Literal["online", "offline", "disabled"]


def decide_mode(asked: Mode) -> Decided:
    """The mode for ``wandb.init``, which would otherwise prompt the user, or fail without a terminal.

    Args:
        asked: ``online`` and ``offline`` are taken as they are. ``auto`` follows the environment's ``WANDB_MODE`` if
            it keeps runs here, and is else online for a user who is logged in and offline for anyone else.
    """
    if asked != "auto":
        return asked
    wanted = os.environ.get("WANDB_MODE", "").lower()
    if wanted == "disabled":
        return "disabled"
    return "offline" if wanted in ("offline", "dryrun") or not logged_in() else "online"


def logged_in() -> bool:
    """Whether there is a key: in ``WANDB_API_KEY``, in an identity token's file, or where ``wandb login`` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    return any(_has_password(path, host) for path in _netrc_files())


def _netrc_files() -> list[Path]:
    if named := os.environ.get("NETRC"):
        return [Path(named).expanduser()]
    return [Path.home() / name for name in (".netrc", "_netrc")]


def _has_password(path: Path, host: str) -> bool:
    try:
        known = netrc.netrc(str(path)).hosts.get(host)
    except (OSError, netrc.NetrcParseError):
        return False
    return known is not None and bool(known[2])
