"""The Dockerfile, which no test can build: its instructions are known, and what they name is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
KNOWN = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    parts = (line.partition(" ") for line in "\n".join(lines).replace("\\\n", " ").splitlines())
    return [(name, " ".join(rest.split())) for name, _, rest in parts]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_every_instruction_is_one_and_every_argument_is_declared() -> None:
    assert {name for name, _ in instructions()} == KNOWN
    declared = {argument.partition("=")[0] for argument in of("ARG")}
    assert set(re.findall(r"\$\{(\w+)\}", (ROOT / "Dockerfile").read_text(encoding="utf-8"))) == declared
    assert instructions()[1] == ("FROM", "${BASE}")
    for command in of("RUN"):
        assert shlex.split(command)


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    sources = [word for rest in of("COPY") for word in shlex.split(rest)[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    patterns = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == set(sources)
    assert not any(fnmatch(source, pattern) for source in sources for pattern in patterns[1:] if pattern[0] != "!")


def test_the_build_has_all_that_the_project_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = {word for rest in of("COPY") for word in shlex.split(rest)[:-1]}
    packages = {
        package.partition("/")[0] for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    assert {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages} <= copied


def test_dependencies_are_installed_before_the_code_is_copied() -> None:
    names = [f"{name} {rest}" for name, rest in instructions()]
    needed, code = (
        next(i for i, line in enumerate(names) if word in line) for word in ("needed.txt", "COPY localrules")
    )
    assert needed < code
    assert "--no-deps ." in names[code + 2]


def test_it_installs_pytorch_as_the_guide_says() -> None:
    (index,) = (rest.partition("=")[2] for rest in of("ARG") if rest.startswith("TORCH_INDEX"))
    (line,) = (rest for rest in of("RUN") if "${TORCH_INDEX}" in rest)
    plain = re.sub(r" --(no-cache-dir|constraint \S+)", "", line).replace("${TORCH_INDEX}", index)
    assert plain in GUIDE.splitlines()


def test_the_build_arguments_of_the_guide_are_those_of_the_file() -> None:
    declared = {argument.partition("=")[0] for argument in of("ARG")}
    given = dict(re.findall(r"--build-arg (\w+)=(\S+)", GUIDE))
    assert given.keys() == declared
    head = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition("ARG")[0]
    assert all(f"--build-arg {name}={value}" in head for name, value in given.items())


def test_the_command_runs_without_rights_in_a_folder_for_the_users_files() -> None:
    assert [rest for rest in of("USER") if rest.partition(":")[0] in ("root", "0")] == []
    after = [name for name, _ in instructions()]
    assert "RUN" not in after[after.index("USER") :]
    assert of("WORKDIR")[-1] == "/work"
    assert of("ENTRYPOINT") == ['["localrules"]']
