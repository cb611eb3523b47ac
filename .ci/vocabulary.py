"""Check the project's vocabulary: find words that `docs/glossary.md` replaces by others.

The page is the configuration: its table of words says what to write instead of what, and its table of exceptions says
where an ordinary meaning of such a word is fine. Checked are the names in Python modules (of definitions, variables,
parameters, attributes, and of the files), docstrings, comments, strings, Markdown, and a few configuration files.

    python .ci/vocabulary.py [--summary] [FILE ...]

Exits with 1 if a word is found. Each finding is a line: ``file:line: word -> what to write instead``.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = Path("docs/glossary.md")
FOLDERS = ("localrules", "plugins", "examples", "tests", "docs", ".ci", ".github")
PLAIN_TEXT = {".cff", ".toml", ".yaml", ".yml"}
OWN_PACKAGES = re.compile(r"localrules(?:_\w+)?(?:\.|$)")

_CODE_SPAN = re.compile(r"``\s?(.+?)\s?``|`([^`]+)`")
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_PROSE = re.compile(
    r"^<!-- quoted: [^\n]*-->\n+(```|~~~).*?^\1|"  # a fence that quotes somebody else's code or output
    r"^>[^\n]*|"  # a quotation
    r"<!--.*?-->|"
    r"(?<=\]\()[^)\s]*|"  # the target of a link
    r"\bhttps?://[^\s>)\"']*",
    re.MULTILINE | re.DOTALL,
)


Match = tuple[int, int, str, str]  # start, end, the span of the glossary, what to write instead


class GlossaryError(Exception):
    """The glossary cannot be read."""


@dataclass(frozen=True)
class Pattern:
    """One code span of the glossary.

    Attributes:
        written: The span as it stands in the glossary.
        text: What it matches in a piece of text, or ``None`` if it is about names only.
        name: The glob that a whole name in snake case has to fit, or ``""``.
        title: Whether it only concerns titles.
        literal: What a text in lower case has to contain for a match: the first word, unless the span is an expression.
    """

    written: str
    text: re.Pattern[str] | None
    name: str = ""
    title: bool = False
    literal: str = ""

    @classmethod
    def parse(cls, written: str) -> Pattern:
        if written.startswith("name:"):
            return cls(written, None, name=written.removeprefix("name:"))
        title = written.startswith("title:")
        body = written.removeprefix("title:")
        if len(body) > 2 and body.startswith("/") and body.endswith("/"):
            # A phrase may run over the end of a line.
            return cls(written, re.compile(body[1:-1].replace(" ", r"\s+"), re.IGNORECASE), title=title)
        words = body.split()
        forms = (r"[\s-]*".join(f"[{w[0].upper()}{w[0].lower()}]{re.escape(w[1:])}" for w in words), body.upper())
        expression = rf"(?<![A-Za-z])(?:{forms[0]}|{re.escape(forms[1])})(?:s|S|es|ES)?(?![a-z])"
        # Inside CamelCase a word starts with its capital.
        inner = "".join(re.escape(w.capitalize()) for w in words)
        return cls(
            written, re.compile(rf"{expression}|(?<=[a-z]){inner}(?:s|es)?(?![a-z])"), "", title, words[0].lower()
        )


@dataclass(frozen=True)
class Allowance:
    """A pattern that is allowed in the files that fit one of the globs."""

    pattern: Pattern
    where: tuple[str, ...]


@dataclass
class Glossary:
    """The two tables of the glossary.

    Attributes:
        banned: Each pattern with what to write instead.
        exceptions: What is allowed, and where.
    """

    banned: list[tuple[Pattern, str]] = field(default_factory=list)
    exceptions: list[Allowance] = field(default_factory=list)
    _known: dict[tuple[str, str], tuple[str, list[Match]]] = field(default_factory=dict)

    @classmethod
    def read(cls, page: str) -> Glossary:
        """The glossary in a page of Markdown.

        Raises:
            GlossaryError: A table is missing, a row is incomplete, or an expression is malformed.
        """
        glossary, table, seen = cls(), "", set()
        for number, line in enumerate(page.splitlines(), start=1):
            cells = [c.replace(r"\|", "|").strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            header = tuple(cells)
            if header in {("word", "meaning", "not"), ("word", "where", "reason")}:
                table = header[1]
                seen.add(table)
            elif not line.startswith("|"):
                table = ""
            elif table and not set(line) <= set("|-: "):
                if len(cells) != 3 or not cells[0] or not cells[1] or (table == "where" and not cells[2]):
                    raise GlossaryError(f"line {number}: a row has three cells")
                try:
                    glossary._add(table, cells)
                except re.error as error:
                    raise GlossaryError(f"line {number}: {error}") from error
        if seen != {"meaning", "where"}:
            raise GlossaryError(
                "it has a table of words (word, meaning, not) and one of exceptions (word, where, reason)"
            )
        return glossary

    def _add(self, table: str, cells: Sequence[str]) -> None:
        if table == "meaning":
            self.banned += [(Pattern.parse(span), cells[0]) for span in spans(cells[2])]
        else:
            where = tuple(spans(cells[1]))
            self.exceptions += [Allowance(Pattern.parse(span), where) for span in spans(cells[0])]

    def matches(self, text: str, kind: str) -> tuple[str, list[Match]]:
        """The text as it is searched, and what is banned in it, exceptions aside. Texts recur, names above all."""
        if (text, kind) not in self._known:
            snake = snake_case(text) if kind == "name" else ""
            searched = (snake or text).replace("_", " ")
            lower = searched.lower()
            found: list[Match] = []
            for pattern, instead in self.banned:
                if pattern.name:
                    if snake and fnmatchcase(snake, pattern.name):
                        found.append((0, len(searched), pattern.written, instead))
                elif pattern.text and pattern.literal in lower and (not pattern.title or kind == "title"):
                    found += [(m.start(), m.end(), pattern.written, instead) for m in pattern.text.finditer(searched)]
            self._known[text, kind] = searched, found
        return self._known[text, kind]

    def allowed_in(self, path: str) -> list[Pattern]:
        return [e.pattern for e in self.exceptions if any(fnmatchcase(path, glob) for glob in e.where)]


@dataclass(frozen=True, order=True)
class Finding:
    """A word that is found, what to write instead, and the code span of the glossary that says so."""

    path: str
    line: int
    word: str
    instead: str
    written: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word} -> {self.instead}"


@dataclass(frozen=True)
class Piece:
    """A text, a title or a name in a file, and the line on which it starts."""

    text: str
    line: int
    kind: str = "text"


def spans(cell: str) -> list[str]:
    """The code spans of a cell."""
    return [double or single for double, single in _CODE_SPAN.findall(cell)]


def check(path: str, source: str, glossary: Glossary) -> list[Finding]:
    """Find the words in one file, at most once per line and word."""
    allowed = glossary.allowed_in(path)
    if any(pattern.written == "*" for pattern in allowed):
        return []
    pieces = [Piece(part, 1, "name") for part in Path(path).with_suffix("").parts]
    if path.endswith(".py"):
        pieces += python_pieces(source)
    elif path.endswith(".md"):
        pieces += markdown_pieces(source)
    else:
        pieces.append(Piece(source, 1))
    return sorted({finding for piece in pieces for finding in check_piece(path, piece, glossary, allowed)})


def check_files(paths: Sequence[str], root: Path, glossary: Glossary) -> list[Finding]:
    """Find the words in all files, in order. Many files are divided among processes."""
    workers = min(os.cpu_count() or 1, 4, len(paths) // 50)
    if workers < 2:
        return [found for path in paths for found in check(path, (root / path).read_text(encoding="utf-8"), glossary)]
    with ProcessPoolExecutor(workers) as pool:
        parts = pool.map(
            check_files, [paths[i : i + 49] for i in range(0, len(paths), 49)], repeat(root), repeat(glossary)
        )
        return [found for part in parts for found in part]


def check_piece(path: str, piece: Piece, glossary: Glossary, allowed: Sequence[Pattern]) -> Iterator[Finding]:
    text, found = glossary.matches(piece.text, piece.kind)
    if not found or (
        piece.kind == "name" and any(p.name and fnmatchcase(snake_case(piece.text), p.name) for p in allowed)
    ):
        return
    for start, end, written, instead in found:
        if not any(overlaps(start, end, pattern.text, text) for pattern in allowed if pattern.text):
            word = " ".join((piece.text if piece.kind == "name" else text[start:end]).split())
            yield Finding(path, piece.line + text.count("\n", 0, start), word, instead, written)


def overlaps(start: int, end: int, pattern: re.Pattern[str], text: str) -> bool:
    """Return whether a match of the pattern overlaps a part of the text. A context reaches 100 characters."""
    return any(m.start() < end and start < m.end() for m in pattern.finditer(text, max(0, start - 100), end + 100))


def snake_case(name: str) -> str:
    return _CAMEL_CASE.sub("_", name).lower()


def markdown_pieces(source: str) -> Iterator[Piece]:
    """The page without quotations, comments and addresses, and its headings as titles."""
    prose = _NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)
    line, fenced = 1, False
    for block in re.split(r"(\n(?:[ \t]*\n)+)", prose):  # a phrase does not run over a blank line
        yield Piece(block, line)
        for offset, text in enumerate(block.split("\n")):
            fenced ^= text.startswith(("```", "~~~"))
            if not fenced and text.startswith("#"):
                yield Piece(text.lstrip("# "), line + offset, "title")
        line += block.count("\n")


def python_pieces(source: str) -> Iterator[Piece]:
    """The names, strings, docstrings and comments of a module."""
    nodes = list(ast.walk(ast.parse(source)))
    foreign = {name for node in nodes for name in foreign_imports(node)}
    in_string: list[tuple[tuple[int, int], tuple[int, int]]] = []
    inside_f_string: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            inside_f_string |= {id(value) for value in node.values}
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            yield Piece("".join(map(str, parts)), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside_f_string:
            yield Piece(node.value, node.lineno)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and isinstance(node.body[0], ast.Expr):
                first, _, _ = docstring.lstrip().partition("\n")
                yield Piece(first, node.body[0].lineno, "title")
        is_string = isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in inside_f_string
        if is_string and node.end_lineno and node.end_col_offset:
            in_string.append(((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)))
        yield from names(node, foreign)
    yield from comments(source, sorted(in_string))


def foreign_imports(node: ast.AST) -> Iterator[str]:
    """Names that a statement imports from packages of others, which we cannot rename."""
    if isinstance(node, ast.Import):
        yield from ((a.asname or a.name).partition(".")[0] for a in node.names if not OWN_PACKAGES.match(a.name))
    elif isinstance(node, ast.ImportFrom) and not node.level and not OWN_PACKAGES.match(node.module or ""):
        yield from (alias.asname or alias.name for alias in node.names)


def names(node: ast.AST, foreign: set[str]) -> Iterator[Piece]:
    """The names that a node defines or uses."""
    line = getattr(node, "lineno", 1)
    found: list[str | None] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        found = [node.name]
    elif isinstance(node, ast.Name):
        found = [node.id]
    elif isinstance(node, ast.arg | ast.keyword):
        found = [node.arg]
    elif isinstance(node, ast.Attribute):
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        found = [] if isinstance(root, ast.Name) and root.id in foreign else [node.attr]
    elif isinstance(node, ast.Import):
        found = [part for a in node.names if OWN_PACKAGES.match(a.name) for part in a.name.split(".")]
    elif isinstance(node, ast.ImportFrom) and (node.level or OWN_PACKAGES.match(node.module or "")):
        found = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    elif isinstance(node, ast.alias):
        found = [node.asname]
    yield from (Piece(name, line, "name") for name in found if name and name not in foreign)


def comments(source: str, strings: list[tuple[tuple[int, int], tuple[int, int]]]) -> Iterator[Piece]:
    """The comments, those on lines of their own joined where they follow one another."""
    starts = [start for start, _ in strings]
    held: list[str] = []
    for number, line in enumerate(source.splitlines(), start=1):
        column = line.find("#")
        while column >= 0:
            here = (number, len(line[:column].encode()))
            index = bisect_right(starts, here)
            if not any(here < end for _, end in strings[max(0, index - 8) : index]):  # strings nest in f-strings
                break
            column = line.find("#", column + 1)
        alone = column >= 0 and not line[:column].strip()
        if held and not alone:
            yield Piece("\n".join(held), number - len(held))
            held = []
        if alone:
            held.append(line[column + 1 :])
        elif column >= 0:
            yield Piece(line[column + 1 :], number)
    if held:
        yield Piece("\n".join(held), len(source.splitlines()) - len(held) + 1)


def tracked_files(root: Path) -> list[str]:
    """The files to check: those that git knows or is about to, or, away from a clone, those in our folders."""
    line = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(line, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        found = [*root.glob("*"), *(path for folder in FOLDERS for path in (root / folder).rglob("*"))]
        listed = [path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts]
    return sorted(path for path in listed if is_checked(path) and (root / path).is_file())


def is_checked(path: str) -> bool:
    parts = Path(path).parts
    if not parts or Path(path) == GLOSSARY or (len(parts) > 1 and parts[0] not in FOLDERS):
        return False
    return Path(path).suffix in {".py", ".md", *PLAIN_TEXT} or parts[-1] == "Makefile"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Find words that docs/glossary.md replaces by others.")
    parser.add_argument("files", nargs="*", help="files to check, relative to the project (default: all)")
    parser.add_argument("--summary", action="store_true", help="print how often each word is found, not where")
    options = parser.parse_args(arguments)
    try:
        glossary = Glossary.read((root / GLOSSARY).read_text(encoding="utf-8"))
    except (OSError, GlossaryError) as error:
        print(f"{GLOSSARY}: {error}", file=sys.stderr)
        return 2
    files = [path for path in options.files if is_checked(path)] if options.files else tracked_files(root)
    findings = check_files(files, root, glossary)
    if options.summary:
        counts = Counter((finding.written, finding.instead) for finding in findings)
        for (word, instead), count in counts.most_common():
            print(f"{count:6} {word} -> {instead}")
        print(f"{len(findings):6} in {len({finding.path for finding in findings})} of {len(files)} files")
    else:
        for finding in findings:
            print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
