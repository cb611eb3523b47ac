"""``localrules audit``: a declaration that holds, and every way in which one does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import few
from helpers.tiny_runs import localrules

from localrules.auditing.forks import can_fork
from localrules.cli import main
from localrules.core.locality import LOCALITY_LEVELS

pytestmark = pytest.mark.slow

LEAKY = Path(__file__).parent / "leaky"
SMALL = ("--model", "mlp", "--set", "model.hidden=[12,10,8]")
LAYERS = ["layers.0", "layers.1", "layers.2", "readout"]


def audited(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert main(["audit", *words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_has_the_keys_that_scripts_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "hsic", *SMALL)
    assert list(found) == [
        "rule",
        "model",
        "class",
        "declared",
        "holds",
        "layers",
        "depends",
        "reasons",
        "leaks",
        "unmeasured",
    ]
    assert (found["rule"], found["model"]) == ("hsic", "mlp")
    assert (found["class"], found["declared"], found["holds"]) == ("local-labels", "local-labels", True)
    assert found["layers"] == LAYERS
    assert found["depends"] == [[column <= row for column in range(4)] for row in range(4)]


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        ("backprop", "backprop"),
        ("fa", "feedback"),
        ("dfa", "broadcast-error"),
        ("local-ce", "local-labels"),
        ("oja", "local"),
        ("layers.0=oja,*=hsic", "local-labels"),
    ],
)
def test_each_class_of_locality_is_told_from_the_others(
    capsys: pytest.CaptureFixture[str], rule: str, measured: str
) -> None:
    found = audited(capsys, "--rule", rule, *SMALL)
    assert found["class"] == found["declared"] == measured


def test_windows_of_layers_are_a_class_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "local-ce", "--granularity", "window:2", *SMALL)
    assert found["class"] == found["declared"] == "window"
    assert found["leaks"] == []
    assert [row[:3] for row in found["depends"][:3]] == [[True, True, False], [True] * 3, [True] * 3]


def test_a_rule_that_windows_cannot_train_is_refused_with_those_that_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--rule", "fa", "--granularity", "window:2", *SMALL]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot train windows of layers" in said
    assert "local-ce" in said
    assert "softhebb" not in said


@pytest.mark.exhaustive
def test_models_are_given_images_as_small_as_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "pred", "--model", "lenet", "--granularity", "2", "--set", "model.pooling=max")
    assert found["holds"]
    assert len(found["layers"]) == 3


LEAKS = {
    "forgotten_detach": ("layers.0", "layers.1"),
    "shared_tensor": ("layers.0", "layers.2"),
    "state_carried_on": ("layers.0", "layers.2"),
    "forward_hook": ("layers.0", "layers.2"),
    "closed_form": ("layers.0", "layers.1"),
}


@pytest.mark.parametrize("leak", few(LEAKS, {"forgotten_detach", "forward_hook", "closed_form"}))
def test_a_rule_that_says_it_is_local_and_leaks_fails_with_the_pair_of_layers(
    capsys: pytest.CaptureFixture[str], leak: str
) -> None:
    words = ("--rule", "leaky", *SMALL, "--plugin", str(LEAKY / f"{leak}.py"))
    found = audited(capsys, *words, code=1)
    assert found["declared"] in ("local", "local-labels")
    assert LOCALITY_LEVELS.index(found["class"]) > LOCALITY_LEVELS.index("local-labels")
    assert not found["holds"]
    layer, other = LEAKS[leak]
    assert found["depends"][LAYERS.index(layer)][LAYERS.index(other)]
    assert main(["audit", *words]) == 1
    said = capsys.readouterr().out
    assert f"{layer} depends on {other}, which it does not read" in said
    assert "it does not hold" in said


@pytest.mark.exhaustive
def test_state_in_a_global_of_the_module_leaves_the_class_unmeasured(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "leaky", *SMALL, "--plugin", str(LEAKY / "module_global.py"), code=1)
    assert found["class"] is None
    assert not found["holds"]
    assert found["depends"][LAYERS.index("layers.0")][LAYERS.index("layers.2")]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("unnamed", "the rule's state 'sums_0' is said to be of no layer, so all may read it, and depends on layers.1"),
        ("unseen", "no hidden layer was seen to learn"),
    ],
)
def test_state_that_is_of_no_layer_or_out_of_sight_does_not_pass_unmeasured(
    capsys: pytest.CaptureFixture[str], rule: str, said: str
) -> None:
    assert main(["audit", "--rule", rule, *SMALL, "--plugin", str(LEAKY / "closed_form.py")]) == 1
    assert said in capsys.readouterr().out


def test_the_sums_of_a_closed_form_count_as_its_layers_updates(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "cafo", *SMALL)
    assert [row[:3] for row in found["depends"][:3]] == [[True, False, False], [True, True, False], [True] * 3]


def test_a_leak_into_statistics_that_no_update_shows_is_told_to_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rule", "leaky", "--plugin", str(LEAKY / "statistics.py"))
    found = audited(capsys, *words, *SMALL, code=1)
    assert not any(found["depends"][0][1:])  # the matrix of updates is clean
    assert {"layer": "layers.0", "on": "layers.2", "through": ["buffers"]} in found["leaks"]
    assert "layers.0 depends on layers.2, which it does not read" in found["reasons"]


def test_a_rule_that_holds_has_no_reasons_and_its_leaks_are_those_that_it_declares(
    capsys: pytest.CaptureFixture[str],
) -> None:
    local, broadcast = (audited(capsys, "--rule", rule, *SMALL) for rule in ("local-ce", "dfa"))
    assert (local["reasons"], local["leaks"]) == ([], [])
    assert broadcast["reasons"] == []
    assert {"layer": "layers.0", "on": "readout", "through": ["update", "buffers"]} in broadcast["leaks"]


FORKED = pytest.mark.skipif(not can_fork(), reason="all trainings share a process here")


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        ("late", "feedback"),
        # The trainings that would tell feedback share a process.
        pytest.param("cached", "broadcast-error", marks=FORKED),
        ("of-mixed-targets", "feedback"),
    ],
)
def test_a_message_is_found_that_comes_late_or_by_a_cache_or_with_mixed_targets(
    capsys: pytest.CaptureFixture[str], rule: str, measured: str
) -> None:
    words = ("--rule", rule, *SMALL, "--plugin", str(LEAKY / "hidden_messages.py"))
    found = audited(capsys, *words, code=1)
    assert "layers.0 depends on layers.2, which it does not read" in found["reasons"]
    assert found["class"] == measured


def test_labels_that_are_heard_late_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "late-labels", *SMALL, "--plugin", str(LEAKY / "hidden_messages.py"), code=1)
    assert (found["declared"], found["class"], found["leaks"]) == ("local", "local-labels", [])


def test_how_late_a_message_may_come_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rule", "late", *SMALL, "--plugin", str(LEAKY / "hidden_messages.py"))
    assert audited(capsys, *words, "--steps", "5")["holds"]
    assert not audited(capsys, *words, "--steps", "8", code=1)["holds"]


def test_a_forgotten_detach_is_back_propagation(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = str(LEAKY / "forgotten_detach.py")
    assert audited(capsys, "--rule", "leaky", *SMALL, "--plugin", plugin, code=1)["class"] == "backprop"


def test_what_is_kept_outside_of_the_session_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--rule", "leaky", *SMALL, "--plugin", str(LEAKY / "module_global.py")]) == 1
    assert "something is kept outside of the session" in capsys.readouterr().out


def test_a_rule_that_says_it_needs_no_labels_and_reads_them_fails(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rule", "labels", *SMALL, "--plugin", str(LEAKY / "reads_labels.py"))
    found = audited(capsys, *words, code=1)
    assert (found["declared"], found["class"], found["holds"]) == ("local", "local-labels", False)


def test_the_furthest_part_of_a_mixture_is_what_it_declares(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SMALL, "--plugin", str(LEAKY / "reads_labels.py"))
    assert audited(capsys, "--rule", "layers.0=labels,*=oja", *words, code=1)["declared"] == "local"
    assert audited(capsys, "--rule", "layers.0=labels,*=hsic", *words)["declared"] == "local-labels"


def test_people_read_a_matrix_a_class_and_a_verdict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "matrix.png"
    assert main(["audit", "--rule", "dfa", *SMALL, "--out", str(image)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in said if line[:1].isdigit()] == [
        "1 layers.0  ■ ◆ ◆ ◆",
        "2 layers.1  ● ■ ◆ ◆",
        "3 layers.2  ● ● ■ ◆",
        "4 readout   ● ● ● ■",
    ]
    assert "class broadcast-error, declared broadcast-error: it holds" in said
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--rule", "hsicc", "--model", "mlp"), "there is no rule 'hsicc'"),
        (("--rule", "greedy-infomax", "--model", "mlp"), "rule 'greedy-infomax' cannot train 'mlp'"),
        (("--rule", "hsic", "--model", "mlp", "--set", "rule.betta=1"), "there is no option 'rule.betta'"),
    ],
)
def test_a_mistake_is_an_error_for_people(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], what: str
) -> None:
    assert audited(capsys, *words, code=2)["error"]["what"] == what


def test_a_rule_whose_gradients_are_zeros_is_not_said_to_hold(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "zero", *SMALL, "--plugin", str(LEAKY / "odd_claims.py"), code=1)
    assert not found["holds"]


def test_what_cannot_be_measured_is_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "fails-at-24", *SMALL, "--plugin", str(LEAKY / "odd_claims.py"))
    assert any("batches of 24" in each and "not with 24" in each for each in found["unmeasured"])
    assert main(["audit", "--rule", "fails-at-24", *SMALL, "--plugin", str(LEAKY / "odd_claims.py")]) == 0
    assert "not measured in batches of 24" in capsys.readouterr().out


def test_fewer_steps_than_the_audit_takes_are_raised_to_them(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rule", "leaky", *SMALL, "--plugin", str(LEAKY / "state_carried_on.py"))
    assert audited(capsys, *words, "--set", "steps=1", code=1)["class"] == audited(capsys, *words, code=1)["class"]


@pytest.mark.parametrize("rule", ["draws", "clock"])
def test_a_rule_that_is_not_deterministic_gets_no_class_and_no_pairs_that_mean_nothing(
    capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    words = ("--rule", rule, *SMALL, "--plugin", str(LEAKY / "odd_claims.py"))
    found = audited(capsys, *words, code=1)
    assert len(found["reasons"]) == 1
    assert "does not seed" in found["reasons"][0]
    assert found["class"] is None
    assert main(["audit", *words]) == 1
    assert "class not measured, declared local: it does not hold" in capsys.readouterr().out


def test_writes_to_parameters_without_an_optimizer_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rule", "writes-directly", *SMALL, "--plugin", str(LEAKY / "odd_claims.py"))
    reasons = audited(capsys, *words, code=1)["reasons"]
    assert "a step writes to network.layers.0.0.weight without an optimizer" in reasons


def test_a_small_parameter_that_has_to_be_positive_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, "--rule", "temperature", *SMALL, "--plugin", str(LEAKY / "odd_claims.py"))
    assert (found["class"], found["holds"]) == ("local", True)


def test_parameters_without_a_shape_are_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--rule", "lazy", *SMALL, "--plugin", str(LEAKY / "odd_claims.py")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Lazy made parameters without a shape" in said
    assert "layer.out_shape" in said


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--rule", "hsic", *SMALL, "--set", "data.nonsense=1"], "--set data.nonsense=1"),
        (["--rule", "hsic", *SMALL, "--out", "nowhere/matrix.png"], "--out nowhere/matrix.png"),
        (["runs/some", "--no-plugin", "hsic"], "localrules audit runs/some"),
    ],
)
def test_what_would_be_ignored_or_fail_at_the_end_is_refused(words: list[str], where: str) -> None:
    said = localrules("audit", *words, "--json")
    assert (said.code, said.error["where"]) == (2, where)
