"""The upload of an exported folder to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from localrules.engine.exported_weights import EXPORT_RECORD, PACKED_RULE, PACKED_WEIGHTS
from localrules.errors import LocalRulesError, UsageError, describe_exception, shorten
from localrules.utils.extras import require_extra

FILES = [PACKED_WEIGHTS, PACKED_RULE, EXPORT_RECORD, "config.toml", "README.md"]
"""What an export writes."""


def check_push(repository: str) -> None:
    """Refuse an upload that cannot succeed, before any work. Nothing is asked over the network.

    Raises:
        UsageError: The package, the login or the name is missing or wrong, or the client is set to work offline.
    """
    where = f"--push {repository}"
    require_extra("hub", ("huggingface_hub",), where, why="most exports stay here")
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(
            f"{repository!r} is not the name of a repository", where=where, why=str(error), fix="name it USER/NAME"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise UsageError(
            "the Hugging Face Hub is switched off",
            where="HF_HUB_OFFLINE",
            why="it is set in the environment",
            fix="unset it, or leave --push out",
        )
    if not get_token():
        raise UsageError(
            "you are not logged in to the Hugging Face Hub",
            where=where,
            why="there is no token, neither in HF_TOKEN nor of a login",
            fix="log in with: hf auth login, or set HF_TOKEN",
        )


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a model repository, which is made, private, if it is not there.

    Args:
        folder: The exported folder.
        repository: ``USER/NAME``.

    Returns:
        The address of the repository.

    Raises:
        LocalRulesError: The Hub cannot be reached, or refuses; the folder stays as it is.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi(library_name="localrules")
        url = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Export by localrules",
            allow_patterns=FILES,  # eval and predict write into the folder, too; the data may be private
        )
    except Exception as error:  # of the connection, of the Hub, of the client
        raise LocalRulesError(
            "the folder cannot be uploaded to the Hugging Face Hub",
            where=f"--push {repository}",
            why=shorten(describe_exception(error), 400),
            fix=f"the export is in {folder}; the same command uploads it again, without writing it anew",
        ) from error
    return str(url)
