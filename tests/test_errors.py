"""Errors stay readable."""

from __future__ import annotations

from localrules.errors import UsageError, suggest_names


def test_a_part_of_any_length_is_shortened_and_its_length_given() -> None:
    error = UsageError("no network " + 5000 * "a", where="--model", why="it is unknown", fix=3000 * "b")
    assert error.what.startswith("no network aaaa")
    assert error.what.endswith("... (5,011 characters)")
    assert len(str(error)) < 3000
    assert (error.where, error.why) == ("--model", "it is unknown")


def test_near_names_are_suggested_and_of_many_others_the_first_are_listed() -> None:
    names = [f"net{number:04}" for number in range(3000)]
    assert suggest_names("net0017", names[:20]).startswith("did you mean 'net0017'")
    listed = suggest_names("*", names)
    assert listed.endswith("net0058, net0059, and 2,940 more")
    assert suggest_names("*", names[:2]) == "known names: net0000, net0001"
