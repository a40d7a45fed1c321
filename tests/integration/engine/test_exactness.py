"""Greedy float32 replies are `generate()`'s, token for token, whatever the batcher does.

What it does is drawn at random: who joins when, how long prompts are, pictures, shared prefixes,
chunk sizes, block sizes, pools so small that sequences are preempted and cached blocks evicted,
cancellations in the middle, transformers' modules or the lean ones of the 8-bit path, and the
attention backend, a toy with a block size of its own among them.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.engine.api import Message, Text
from bot.engine.cuda import varlen_attention
from tests.support import models, toy_backend
from tests.support.engine import PICTURES, Ask, Rig, emulated_varlen_attn


@pytest.fixture(autouse=True)
def emulated_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen_attention, "varlen_attn", emulated_varlen_attn)


WORDS = ["the user", "model", "a b c", "<end_of_turn>", "é", "x", "\n\n", "hello there"]
PERSONAS = ["", "You are the user.", "You are a model of the user and more than that."]


@pytest.fixture(scope="module")
def seeing() -> Rig:
    torch.set_num_threads(2)
    return Rig(models.tiny_seeing_model(), sees=True)


@pytest.fixture(scope="module")
def blind() -> Rig:
    torch.set_num_threads(2)
    return Rig(models.tiny_text_model(), sees=False)


def text(draw: Any) -> Text:
    return Text(" ".join(draw(st.lists(st.sampled_from(WORDS), max_size=8))))


@st.composite
def conversation(draw: Any, sees: bool) -> list[Message]:
    persona = draw(st.sampled_from(PERSONAS))
    messages = [Message("system", (Text(persona),))] if persona else []
    for _ in range(draw(st.integers(0, 1))):
        messages += [Message("user", (text(draw),)), Message("assistant", (text(draw),))]
    parts: list[Any] = [text(draw)]
    for _ in range(draw(st.integers(0, 2)) if sees else 0):
        parts += [draw(st.sampled_from(list(PICTURES.values()))), text(draw)]
    return [*messages, Message("user", tuple(parts))]


def asks(sees: bool) -> Any:
    one = st.builds(
        Ask,
        messages=conversation(sees),
        new=st.integers(1, 20),
        at=st.integers(0, 12),
        until=st.none() | st.none() | st.integers(3, 20),
        owner=st.sampled_from("ab"),
    )
    return st.lists(one, min_size=1, max_size=5)


shape = st.fixed_dictionaries(
    {
        "size": st.sampled_from([2, 4, 16]),
        "running": st.integers(1, 5),
        "step": st.sampled_from([6, 17, 64]),
        "reuse": st.booleans(),
        "lean": st.booleans(),
        "kernel": st.sampled_from(["portable", "portable", "toy", "varlen", "graphs"]),
    }
)
slow = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@settings(slow, max_examples=8)
@given(asks(sees=True), shape, st.booleans())
def test_random_mixes_with_pictures(
    seeing: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(seeing, wanted, shape, tight)


@settings(slow, max_examples=8)
@given(asks(sees=False), shape, st.booleans())
def test_random_mixes_text_only(
    blind: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(blind, wanted, shape, tight)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many examples; machines differ in speed by two and more
@slow
@given(asks(sees=True), shape, st.booleans())
def test_many_random_mixes_with_pictures(
    seeing: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(seeing, wanted, shape, tight)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many examples; machines differ in speed by two and more
@slow
@given(asks(sees=False), shape, st.booleans())
def test_many_random_mixes_text_only(
    blind: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(blind, wanted, shape, tight)


def check(rig: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool) -> None:
    longest = max(len(rig.tokenizer.build_prompt(a.messages).ids) + a.new for a in wanted)
    room = longest + rig.window + shape["step"] if tight else 4000
    size = toy_backend.BLOCK_SIZE if shape["kernel"] == "toy" else shape["size"]
    rig.build(blocks=-(-room // size) + 2, **shape)
    rig.run(wanted)
    assert rig.free()
    rig.check(wanted)


@pytest.fixture(scope="module")
def short_seeing() -> Rig:
    return Rig(models.shortened(models.tiny_seeing_model()), sees=True)


@pytest.fixture(scope="module")
def short_blind() -> Rig:
    return Rig(models.shortened(models.tiny_text_model()), sees=False)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Keys of short prompts are split too, and tiles are large, which the interpreter likes."""
    pytest.importorskip("triton")
    from bot.engine.cuda import attention_plan, triton_attention, triton_backend
    from tests.support.triton_interpreter import patch_once

    patch_once()

    def tile_config(_: int, __: torch.dtype, prefill: bool) -> triton_attention.TileConfig:
        return triton_attention.TileConfig(64 if prefill else 16, 32, 4, 1)

    monkeypatch.setattr(attention_plan, "MIN_SPLIT_KEYS", 32)
    for module in (triton_attention, triton_backend):
        monkeypatch.setattr(module, "tile_config", tile_config)


def few_asks(sees: bool) -> Any:
    one = st.builds(
        Ask,
        messages=conversation(sees),
        new=st.integers(1, 8),
        at=st.integers(0, 5),
        until=st.none() | st.none() | st.integers(3, 6),
        owner=st.sampled_from("ab"),
    )
    return st.lists(one, min_size=2, max_size=3)


triton_shape = st.fixed_dictionaries(
    {
        "size": st.sampled_from([4, 16]),
        "running": st.integers(2, 3),
        "step": st.sampled_from([17, 64]),
        "reuse": st.booleans(),
        "lean": st.booleans(),
        "kernel": st.sampled_from(["triton", "triton-graphs"]),
    }
)
few = settings(slow, max_examples=3)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of GELU's far ends
@few
@given(few_asks(sees=True), triton_shape, st.booleans())
def test_triton_kernels_with_pictures(
    short_seeing: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(short_seeing, wanted, shape, tight)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of GELU's far ends
@few
@given(few_asks(sees=False), triton_shape, st.booleans())
def test_triton_kernels_text_only(
    short_blind: Rig, wanted: list[Ask], shape: dict[str, Any], tight: bool
) -> None:
    check(short_blind, wanted, shape, tight)


def user(*parts: Any) -> Message:
    return Message("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))


@pytest.fixture(params=["portable", "toy"])
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many examples; machines differ in speed by two and more
@settings(slow, max_examples=20)
@given(asks(sees=True), shape)
def test_a_backend_of_ones_own_with_pictures(
    seeing: Rig, wanted: list[Ask], shape: dict[str, Any]
) -> None:
    check(seeing, wanted, {**shape, "kernel": "toy", "lean": False}, tight=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many examples; machines differ in speed by two and more
@settings(slow, max_examples=20)
@given(asks(sees=False), shape)
def test_a_backend_of_ones_own_text_only(
    blind: Rig, wanted: list[Ask], shape: dict[str, Any]
) -> None:
    check(blind, wanted, {**shape, "kernel": "toy", "lean": False}, tight=True)


def test_preemption_and_eviction_happen_and_change_nothing(blind: Rig, kernel: str) -> None:
    """Six long replies in a pool that holds two."""
    wanted = [Ask([user("the user " * 5 + str(i))], new=40, at=i) for i in range(6)]
    rig, size = blind, toy_backend.BLOCK_SIZE if kernel == "toy" else 4
    longest = max(len(rig.tokenizer.build_prompt(a.messages).ids) for a in wanted) + 40
    rig.build(size=4, blocks=longest // size * 2, running=6, step=32, kernel=kernel)
    rig.run(wanted)
    assert sum(a.sequence.num_preemptions for a in wanted if a.sequence) > 2
    assert rig.free()
    rig.check(wanted)


def test_next_turn_prefills_only_what_is_new(seeing: Rig, kernel: str) -> None:
    """With the reply's own ids, everything up to its last block is found; so is the picture."""
    picture = next(iter(PICTURES.values()))
    first = [Message("system", (Text(PERSONAS[2]),)), user("look ", picture, " the user" * 6)]
    seeing.build(size=4, blocks=400, running=4, step=64, kernel=kernel)
    one = Ask(first, new=20)
    seeing.run([one])
    num_encoded = seeing.vision.num_encoded
    two = Ask([*first, Message("assistant", (Text("", tuple(one.reply)),)), user("and?")], new=12)
    seeing.run([two])
    assert two.sequence is not None
    assert (
        two.sequence.num_cached_tokens
        >= len(one.prompt.ids) + len(one.reply) - 1 - seeing.blocks.block_size
    )
    assert seeing.vision.num_encoded == num_encoded
    seeing.check([one, two])


def test_hit_inside_a_picture(seeing: Rig, kernel: str) -> None:
    """A prefix may end between two soft tokens of a picture; the rest is computed exactly."""
    picture = next(iter(PICTURES.values()))
    for pad in range(4):
        seeing.build(size=4, blocks=400, running=2, step=64, kernel=kernel)
        one = Ask([user("x" * pad, picture)], new=4)
        two = Ask([user("x" * pad, picture, "other words")], new=8, at=20)
        seeing.run([one, two])
        assert two.sequence is not None
        assert two.sequence.num_cached_tokens > 0
        seeing.check([one, two])


def test_same_ids_but_another_picture_is_no_hit(seeing: Rig, kernel: str) -> None:
    seeing.build(size=4, blocks=400, running=2, step=64, kernel=kernel)
    pair = [Ask([user(p, "what is it?")], new=10, at=i * 20)
            for i, p in enumerate(list(PICTURES.values())[:2])]  # fmt: skip
    seeing.run(pair)
    assert pair[1].sequence is not None
    assert pair[1].sequence.num_cached_tokens <= pair[1].prompt.spans[0].start
    seeing.check(pair)


def test_hit_deep_behind_the_window(blind: Rig, kernel: str) -> None:
    """Sliding layers have dropped the start of a long prefix: its end must suffice."""
    prompt = "the user and the model and " * 12
    blind.build(size=4, blocks=600, running=2, step=32, kernel=kernel)
    one, two = Ask([user(prompt + "a")], new=6), Ask([user(prompt + "b")], new=6, at=30)
    blind.run([one, two])
    assert two.sequence is not None
    # The first sequence went on past the shared part by less than a window, or evicted nothing.
    assert two.sequence.num_cached_tokens > len(two.prompt.ids) // 2
    blind.check([one, two])


@pytest.mark.parametrize("sees", [True, False])
def test_window_is_shorter_than_prompts(sees: bool, seeing: Rig, blind: Rig) -> None:
    """What the tests above rely on."""
    rig = seeing if sees else blind
    kinds = rig.text.config.layer_types
    assert {"sliding_attention", "full_attention"} == set(kinds)
    assert rig.window < len(rig.tokenizer.build_prompt([user("hello there")]).ids)
