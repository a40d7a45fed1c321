"""The forms: opening and saving one changes nothing, and problems are shown at their inputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.commands.registry import INHERIT
from bot.core.limits import MAX_PERSONA_LENGTH
from bot.core.records import ChannelSettings, Mode
from bot.platforms.slack import texts
from bot.platforms.slack.modals import (
    MAX_INPUT,
    Metadata,
    persona_args,
    persona_problems,
    settings_args,
    settings_modal,
    split_text,
)

WORDS = st.text(st.sampled_from("ab \n"), min_size=2_900, max_size=MAX_PERSONA_LENGTH)


def saved(text: str) -> str:
    """What comes back from a modal that nobody touched, as Slack and `values` hand it on."""
    head, joint, rest = split_text(text)
    assert len(head) <= MAX_INPUT
    assert len(rest) <= MAX_INPUT
    filled = {"text": head.strip(), **({"more": rest.strip()} if rest else {})}
    return persona_args(filled, Metadata.load(Metadata("C1", joint=joint).dump()))["text"]


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "x" * MAX_INPUT,
        "x" * MAX_PERSONA_LENGTH,  # no place to cut it at
        "word " + "x" * (MAX_PERSONA_LENGTH - 5),  # the one place leaves too much
        "word " * 799 + "end",
        "line\n\n" * 660 + "end",
    ],
)
def test_a_text_comes_back_as_it_went(text: str) -> None:
    assert saved(text) == text


@given(WORDS)
def test_any_text_comes_back_as_it_went(text: str) -> None:
    assert saved(text) == text.strip()


def test_a_text_is_cut_between_words() -> None:
    head, joint, rest = split_text("word " * 799 + "end")
    assert head.endswith("word")
    assert joint == " "
    assert rest.startswith("word")


def test_the_arguments_of_a_submitted_persona() -> None:
    metadata = Metadata("C1", joint=" ")
    assert persona_args({"text": "a"}, metadata) == {"text": "a", "scope": "channel"}
    args = persona_args({"text": "a", "more": "b", "scope": "workspace"}, metadata)
    assert args == {"text": "a b", "scope": "workspace"}
    assert persona_args({"more": "b"}, metadata)["text"] == "b"


def test_problems_are_shown_at_their_inputs() -> None:
    values = {"temperature": "9", "top_p": "x", "top_k": "1.5", "max_new_tokens": "7"}
    assert persona_problems(values).keys() == {"text", "temperature", "top_p", "top_k"}
    assert persona_problems({"text": "You are a fox."}) == {}


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"channel": null}'])
def test_malformed_metadata_is_empty(text: object) -> None:
    assert Metadata.load(text) == Metadata("")


def test_the_settings_form_has_what_is_set_here() -> None:
    settings = ChannelSettings(mode=Mode.ALWAYS, inline=False, retention_days=30)
    view = settings_modal(settings, "#general", Metadata("C1"))
    elements = {b["block_id"]: b["element"] for b in view["blocks"] if b["type"] == "input"}
    selected = {
        name: e["initial_option"]["value"] for name, e in elements.items() if "options" in e
    }
    assert selected == {"mode": "always", "inline": "off", "answer_bots": INHERIT}
    assert elements["retention_days"]["initial_value"] == "30"
    assert "initial_value" not in elements["max_images"]


def test_what_is_left_empty_in_the_settings_form_inherits() -> None:
    args = settings_args({"mode": "never"}, Metadata("C1", "1.1"))
    assert args == {
        "mode": "never", "inline": INHERIT, "answer_bots": INHERIT, "retention_days": INHERIT,
        "max_images": INHERIT, "scope": "thread",
    }  # fmt: skip


def test_every_mode_can_be_chosen() -> None:
    assert set(texts.MODES) == {mode.value for mode in Mode}
