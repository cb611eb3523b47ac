"""The snippets of the documentation, and how they are run.

A page is a story: its snippets run in order, in one fresh folder. ``bash`` runs the ``localrules`` commands in it, each
with the settings below laid under it, so that a run takes a second; ``python`` is executed; ``toml``, ``json`` and
``yaml`` are parsed; ``text`` is only shown. A comment above a snippet may say otherwise:

    <!-- not run: REASON -->    it is left out
    <!-- file: NAME -->         it is written to a file of that name, for the snippets after it

A run folder's time stamp is made up in the pages, and stands for that of the newest run of the same rule and model.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import yaml

from localrules.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
LANGUAGES = ("bash", "python", "toml", "json", "yaml", "text")
SMALL = """
steps = 3
batch_size = 14
threads = 1
log_every = 1
[model]
name = "dense_fpn_small"
blocks = 1
convolutions = 2
[data]
name = "faces"
train = 140
valid = 70
test = 70
"""
PERCEPTRON = """[model]
name = "mlp"
hidden = [64, 32, 16]
"""
SMALLER = {"mlp": ["hidden=[64, 32, 16]"], "dense_fpn_small": ["blocks=1", "convolutions=2"]}
DRAWN = "sparse"
"""The rule whose plots a page reads; all other runs draw none, which would take as long as the rest of a page."""
_SNIPPET = re.compile(r"(?:^<!-- (not run|file): ([^>]+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"runs/\d{8}-\d{6}-([^/]+)")


@dataclass(frozen=True)
class Snippet:
    """A fenced part of a page.

    Attributes:
        place: Page and line, for messages.
        language: The word behind the fence.
        code: What is in it.
        reason: Why it is not run, if it is not.
        file: The file that it is written to, if it is.
    """

    place: str
    language: str
    code: str
    reason: str = ""
    file: str = ""


def snippets(page: str) -> list[Snippet]:
    """The snippets of a page in order."""
    text = PAGES[page].read_text(encoding="utf-8")
    found = []
    for match in _SNIPPET.finditer(text):
        directive, value, language, code = match.groups()
        place = f"{page}, line {text.count(chr(10), 0, match.start(3)) + 1}"
        said = {"not run": "reason", "file": "file"}.get(directive)
        found.append(Snippet(place, language, code, **({said: value} if said else {})))
    return found


def run(snippet: Snippet, folder: Path) -> None:
    """Run a snippet in a folder, which is the present one."""
    if snippet.file:
        (folder / snippet.file).parent.mkdir(exist_ok=True)
        (folder / snippet.file).write_text(snippet.code)
    elif snippet.language == "bash":
        for line in snippet.code.replace("\\\n", " ").splitlines():
            _command(shlex.split(line, comments=True), snippet.place, folder)
    elif snippet.language == "python":
        exec(compile(snippet.code, snippet.place, "exec"), {"__name__": "snippet"})
    elif snippet.language == "toml":
        tomllib.loads(snippet.code)
    elif snippet.language == "json":
        json.loads(snippet.code)
    elif snippet.language == "yaml":
        yaml.safe_load(snippet.code)


def _command(words: list[str], place: str, folder: Path) -> None:
    if not words:
        return
    assert words[0] == "localrules", f"{place}: only localrules is run; mark the snippet as <!-- not run: REASON -->"
    words = [_newest(word, folder) for word in words[1:]]
    if words[0] in ("run", "sweep") and not {"--resume", "--config"} & {*words}:
        small = SMALL
        if "mlp" in words:
            small = re.sub(r"\[model\].*?(?=\[)", PERCEPTRON, small, flags=re.DOTALL)
        (folder / "small.toml").write_text(small)
        words += ["--config", "small.toml"]
    elif words[0] == "audit" and "--model" in words:
        words += [word for name in SMALLER[words[words.index("--model") + 1]] for word in ("--set", f"model.{name}")]
    for name in [name for name in sys.modules if name.startswith("localrules_file_")]:
        del sys.modules[name]  # a page may show a second version of one file
    assert main(words) == 0, f"{place}: localrules {shlex.join(words)}"


def _newest(word: str, folder: Path) -> str:
    match = _RUN.fullmatch(word)
    if match is None:
        return word
    return str(max(folder.glob(f"runs/*-{match[1]}"), key=lambda run: run.stat().st_mtime))
