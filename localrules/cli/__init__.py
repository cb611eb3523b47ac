"""The command ``localrules``: one module a command."""

from localrules.cli.app import main

__all__ = ["main"]
