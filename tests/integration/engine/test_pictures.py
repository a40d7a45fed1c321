"""Whole conversations with pictures through `LocalEngine`: everybody's reply is `generate()`'s."""

from __future__ import annotations

import asyncio
import io
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PILImage

from bot.engine.api import Delta, Image, Message, SamplingParams, Text
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig
from tests.support import models
from tests.support.engine import TIE

pytestmark = pytest.mark.usefixtures("one_thread")
NEW = 6
PAN_AND_SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 256,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("tiny"), sees=True)


def said(role: Any, *parts: str | Image) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


async def reply(engine: LocalEngine, messages: list[Message], person: int) -> list[int]:
    sampling = SamplingParams(temperature=0, max_new_tokens=NEW)
    found: list[int] = []
    async for item in engine.stream(
        messages, sampling, owner=f"person {person}", conversation=f"c{person}"
    ):
        if isinstance(item, Delta):
            found += item.token_ids
    return found


def expected(messages: list[Message], crops: bool) -> tuple[list[int], torch.Tensor]:
    """What `generate()` says alone, and the logits it chose by, from the processor's own inputs."""
    theirs = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, Text)
                else {"type": "image", "image": PILImage.open(io.BytesIO(part.data))}
                for part in message.parts
            ],
        }
        for message in messages
    ]
    inputs = models.tiny_processor().apply_chat_template(
        theirs,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs=PAN_AND_SCAN if crops else {},
    )
    out = models.tiny_seeing_model().generate(
        **inputs,
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return ids, torch.stack(out.logits)[:, 0].float()


def same(got: list[int], messages: list[Message], crops: bool) -> bool:
    """Token for token, up to where the reference itself has no favourite."""
    want, logits = expected(messages, crops)
    assert len(got) == len(want)
    for at, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        if ours != theirs:
            best = logits[at].topk(2)
            return float(best.values[0] - best.values[1]) <= TIE and ours in best.indices.tolist()
    return True


async def converse(folder: Path, conversations: list[list[Message]], mode: Any) -> list[list[int]]:
    config = LocalEngineConfig(
        model=str(folder),
        dtype="float32",
        device="cpu",
        kv_memory_mib=16,
        max_context=512,
        ignore_eos=True,
        pan_and_scan=mode,
        max_batch=16,
        max_step_tokens=96,
        threads=1,
    )
    engine = LocalEngine(config)
    await engine.start()
    try:
        return await asyncio.gather(
            *(reply(engine, messages, n) for n, messages in enumerate(conversations))
        )
    finally:
        await engine.stop()


async def test_each_of_32_people_is_answered_about_their_own_picture(folder: Path) -> None:
    """The same words for all: only the picture tells the replies apart."""
    people = [[said("user", models.picture(100 + n), "what is it?")] for n in range(32)]
    got = await converse(folder, people, "off")
    assert len(set(map(tuple, got))) > 20, "the pictures make a difference"
    assert all(same(found, messages, False) for found, messages in zip(got, people, strict=True))


async def test_mixed_batches_with_crops(folder: Path) -> None:
    """Text, one picture, several, crops, earlier turns: all at once, in one engine."""
    dice = random.Random(5)
    sizes = [(40, 30), (700, 300), (300, 1100), (320, 300)]
    people = []
    for n in range(12):
        views = [models.picture(n * 10 + k, dice.choice(sizes)) for k in range(n % 3)]
        parts: list[str | Image] = [f"look {n}"]
        for view in views:
            parts += [view, "and"]
        history = (
            [said("user", models.picture(n, (700, 300)), "first"), said("assistant", "the model")]
            if n % 4 == 0
            else []
        )
        people.append([*history, said("user", *parts)])
    got = await converse(folder, people, "on")
    assert all(same(found, messages, True) for found, messages in zip(got, people, strict=True))
