"""The vocabulary check finds each kind of violation, and honours each exception."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "vocabulary.py"
PAGE = """
| word | meaning | not |
|---|---|---|
| apple | A fruit. | `pear`, `sour plum` |
| tree | Carries apples. | `/\\btall (?:bush\\|shrub)\\b/`, `name:*_bush` |
| noun phrase | Titles. | `title:/^What\\b/` |

| word | where | reason |
|---|---|---|
| `/\\bprickly pears?\\b/` | `*` | A cactus. |
| `pear` | `docs/pears.md` | The page about pears. |
| `name:old_bush` | `localrules/*` | A name of others. |
| `*` | `tests/all.py` | Examples. |
"""


@pytest.fixture(scope="module")
def vocabulary() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vocabulary", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["vocabulary"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path, vocabulary: ModuleType):
    """Writes files into a project with the glossary above, and returns what the check finds in them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "glossary.md").write_text(PAGE)
    glossary = vocabulary.Glossary.read(PAGE)

    def found(path: str, text: str) -> list[tuple[int, str, str]]:
        return [(f.line, f.word, f.instead) for f in vocabulary.check(path, text, glossary)]

    return found


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("pear = 1", 1, "pear"),
        ("x = 0\nx.ripe_pears", 2, "ripe_pears"),
        ("def pick(\n    pear): ...", 2, "pear"),
        ("class PearTree: ...", 1, "PearTree"),
        ("class SourPlum: ...", 1, "SourPlum"),
        ("MAX_PEARS = 3", 1, "MAX_PEARS"),
        ("from localrules.pear import x", 1, "pear"),
        ('"""A pear."""', 1, "pear"),
        ('"""First.\n\nPears fall.\n"""', 3, "Pears"),
        ("x = 1  # a pear", 1, "pear"),
        ("x = '#'  # a pear", 1, "pear"),
        ("# one\n# pear", 2, "pear"),
        ("fail(f'no {x} pear')", 1, "pear"),
        ("def f():\n    '''What it is.'''", 2, "What"),
        ("# a tall\n# shrub", 1, "tall shrub"),
        ("my_bush = 1", 1, "my_bush"),
    ],
)
def test_each_kind_of_violation_in_python_is_found(project, text: str, line: int, word: str) -> None:
    assert [(n, w) for n, w, _ in project("localrules/a.py", text)] == [(line, word)]


@pytest.mark.parametrize(
    "text",
    [
        "appear = spear = 1",  # parts of other words
        "from fruit import Pear\nPear()\nimport pear\npear.pears",  # names of others
        '"""Prickly pears."""\nprickly_pear = 1',
        "old_bush = 1",
        "def f():\n    '''Find what it is. What is it?'''",
    ],
)
def test_ordinary_python_passes(project, text: str) -> None:
    assert project("localrules/a.py", text) == []


def test_names_of_files_are_checked(project) -> None:
    assert project("localrules/pear.py", "") == [(1, "pear", "apple")]


def test_markdown_is_checked_with_its_code_but_without_quotations_and_addresses(project) -> None:
    page = "# What it is\n\nA pear.\n\n```python\nripe_pear = 1\n```\n"
    assert [(n, w) for n, w, _ in project("docs/a.md", page)] == [(1, "What"), (3, "pear"), (6, "pear")]
    quoted = (
        "<!-- quoted: a paper -->\n```text\npear\n```\n\n> A pear.\n\n[x](pear.md) <https://pear.org> <!-- pear -->\n"
    )
    assert project("docs/a.md", quoted) == []


def test_an_exception_holds_only_where_it_is_listed(project) -> None:
    assert project("docs/pears.md", "A pear and a tall bush.") == [(1, "tall bush", "tree")]
    assert project("docs/other.md", "A pear.") == [(1, "pear", "apple")]
    assert project("plugins/a.py", "old_bush = 1") == [(1, "old_bush", "tree")]
    assert project("tests/all.py", "pear = 1") == []


def test_the_command_says_where_and_how_often(
    tmp_path: Path, vocabulary: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "glossary.md").write_text(PAGE)
    (tmp_path / "docs" / "a.md").write_text("A pear.\n\nTwo pears.\n")
    assert vocabulary.main([], tmp_path) == 1
    assert capsys.readouterr().out == "docs/a.md:1: pear -> apple\ndocs/a.md:3: pears -> apple\n"
    assert vocabulary.main(["--summary"], tmp_path) == 1
    assert capsys.readouterr().out.split("\n")[0].split() == ["2", "pear", "->", "apple"]
    (tmp_path / "docs" / "a.md").write_text("An apple.\n")
    assert vocabulary.main([], tmp_path) == 0
    (tmp_path / "docs" / "glossary.md").write_text("nothing")
    assert vocabulary.main([], tmp_path) == 2


@pytest.mark.parametrize("row", ["| a | b |", "| a | b | `/(/` |"])
def test_a_malformed_table_is_an_error(vocabulary: ModuleType, row: str) -> None:
    with pytest.raises(vocabulary.GlossaryError, match="line"):
        vocabulary.Glossary.read(PAGE.replace("| apple | A fruit. | `pear`, `sour plum` |", row))


@pytest.mark.parametrize(
    "text",
    [
        "Figure 4 of the paper, figures 10 and 11, and figure-12.",
        "The paper's figures.",
        "import matplotlib.figure; plt.figure()",
        "A row of metrics.csv. Rows and columns of a matrix.",
        "The confusion matrix, a Gram matrix, and a matrix product.",
        "Layers share weights; weights that share their signs.",
        "In place of a placeholder, in-place. It takes place.",
        "The standard deviation.",
        "There is no GPU. It is no longer slow.",
        "A hands-on tutorial on a workstation.",
    ],
)
def test_ordinary_meanings_pass(vocabulary: ModuleType, text: str) -> None:
    glossary = vocabulary.Glossary.read((ROOT / "docs" / "glossary.md").read_text())
    assert vocabulary.check("docs/a.md", text, glossary) == []


@pytest.mark.parametrize(
    "text",
    [
        "a picture",
        "the best figure",
        "rows of a batch",
        "the share of images",
        "a raster",
        "the layer's place",
        "matrix or convolution",
        "every layer is told the label",
        "it asks the network",
        "this is no layer",
        "the commonest class",
        "mirror images",
        "an observer",
        "multiply-adds",
        "a deviation",
        "what is handed on",
    ],
)
def test_private_words_are_found(vocabulary: ModuleType, text: str) -> None:
    glossary = vocabulary.Glossary.read((ROOT / "docs" / "glossary.md").read_text())
    assert {finding.line for finding in vocabulary.check("docs/a.md", text, glossary)} == {1}
