"""Crops and prompts with pictures equal those of Gemma 3's own processor."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from transformers import Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from bot.engine.api import Image, Message, Text
from bot.engine.model.vision import Vision
from bot.engine.text.pan_and_scan import Crop, CropRule
from bot.engine.text.tokenizer import ChatTokenizer, ImageTokens
from tests.support import models
from tests.support.models import picture

REAL_IMAGES = ImageTokens(255999, 256000, 262144, 256)
PAN_AND_SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 256,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}
sides = st.integers(1, 2500)


def image_processor() -> Gemma3ImageProcessorPil:
    return Gemma3ImageProcessorPil(size={"height": 896, "width": 896})


def processor(tokenizer: Any) -> Gemma3Processor:
    return Gemma3Processor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        chat_template=models.CHAT_TEMPLATE,
        image_seq_length=256,
    )


@settings(max_examples=400, deadline=None)
@given(sides, sides)
def test_on_matches_the_processor(width: int, height: int) -> None:
    # Of this picture only the shape is there.
    image = np.broadcast_to(np.zeros(1, np.uint8), (3, height, width))
    want = image_processor().pan_and_scan(image, 256, 4, 1.2)
    boxes = CropRule("on").crop_boxes(width, height)
    assert [(b[3] - b[1], b[2] - b[0]) for b in boxes] == [crop.shape[1:] for crop in want]
    if boxes:
        assert (boxes[0][:2], boxes[-1][2:]) == ((0, 0), (width, height))


@settings(max_examples=200, deadline=None)
@given(sides, sides)
def test_auto_crops_less_and_off_nothing(width: int, height: int) -> None:
    assert CropRule("off").crop_boxes(width, height) == ()
    auto = CropRule("auto").crop_boxes(width, height)
    assert auto in ((), CropRule("on").crop_boxes(width, height))
    longer, shorter = max(width, height), min(width, height)
    if auto:
        assert longer >= 2 * shorter or longer >= 1344


@pytest.mark.parametrize(
    ("size", "crops"),
    [
        ((896, 896), 0),
        ((1792, 1792), 0),
        ((640, 480), 0),
        ((1024, 768), 0),
        ((1792, 1008), 2),  # a screenshot
        ((1792, 1344), 2),  # a photograph
        ((1344, 1792), 2),
        ((600, 300), 2),
        ((1792, 600), 3),
        ((500, 1792), 4),
        ((400, 200), 0),  # too small for crops
        ((1792, 200), 0),
    ],
)
def test_auto(size: tuple[int, int], crops: int) -> None:
    assert len(CropRule("auto").crop_boxes(*size)) == crops


def test_the_rule_comes_from_the_model() -> None:
    assert CropRule.from_processor("on", image_processor()) == CropRule("on")
    own = Gemma3ImageProcessorPil(
        size={"height": 96, "width": 96},
        pan_and_scan_min_crop_size=64,
        pan_and_scan_max_num_crops=3,
        pan_and_scan_min_ratio_to_activate=1.5,
    )
    assert CropRule.from_processor("auto", own) == CropRule("auto", 96, 64, 3, 1.5)


def test_a_file_that_is_not_a_picture_has_no_crops() -> None:
    assert CropRule("on").crop_image(Image(b"no picture", "d")) == ()


def test_pixels_of_crops_match_the_processor() -> None:
    source = picture(2, (700, 300))
    opened = PILImage.open(io.BytesIO(source.data))
    want = image_processor()(images=[opened], return_tensors="pt", **PAN_AND_SCAN)
    crops = CropRule("on").crop_image(source)
    assert len({view.digest for view in (source, *crops)}) == 3
    assert want["num_crops"].tolist() == [len(crops)] == [2]
    vision = Vision(None, image_processor(), 0)
    got = torch.stack([vision.preprocess_image(view) for view in (source, *crops)])
    vision.close()
    assert torch.equal(got, want["pixel_values"])


@pytest.fixture(scope="module")
def real(gemma_tokenizer: Any) -> ChatTokenizer:
    return ChatTokenizer(gemma_tokenizer, REAL_IMAGES, 262208)


@pytest.fixture(scope="module")
def real_processor(gemma_tokenizer: Any) -> Gemma3Processor:
    return processor(gemma_tokenizer)


SQUARE, WIDE, TALL, FLAT = (
    picture(1, (300, 300)),
    picture(2, (1000, 400)),
    picture(3, (300, 1500)),
    picture(4, (600, 520)),
)
TURNS: dict[str, list[tuple[str, list[str | Image]]]] = {
    "one": [("user", [SQUARE, "What is this?"])],
    "one, without text": [("user", [SQUARE])],
    "text first": [("user", ["Look at this:", SQUARE])],
    "two, apart": [("user", ["This", SQUARE, "and this", FLAT, "differ how?"])],
    "two, together": [("user", [SQUARE, FLAT, "Compare them."])],
    "four": [("user", [SQUARE, WIDE, "left\nright", TALL, FLAT, "Which is red?"])],
    "earlier": [
        ("user", ["Remember", WIDE]),
        ("assistant", ["I will."]),
        ("user", ["And this?", TALL]),
    ],
    "with a persona": [("system", ["You are a pirate."]), ("user", [WIDE, "Ahoy"])],
}


@pytest.mark.weights
@pytest.mark.parametrize("crops", ["off", "on"])
@pytest.mark.parametrize("turns", TURNS.values(), ids=list(TURNS))
def test_ids_match_the_processor(
    turns: list[tuple[str, list[str | Image]]],
    crops: Any,
    real: ChatTokenizer,
    real_processor: Gemma3Processor,
) -> None:
    ours, theirs = [], []
    for role, said in turns:
        ours.append(
            Message(role, tuple(Text(p) if isinstance(p, str) else p for p in said))  # type: ignore[arg-type]
        )
        content = [
            {"type": "text", "text": p}
            if isinstance(p, str)
            else {"type": "image", "image": PILImage.open(io.BytesIO(p.data))}
            for p in said
        ]
        theirs.append({"role": role, "content": content})
    want = real_processor.apply_chat_template(
        theirs,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs=PAN_AND_SCAN if crops == "on" else {},
    )
    real.crop_rule = CropRule(crops)
    got = real.build_prompt(ours)
    assert list(got.ids) == want["input_ids"][0].tolist()
    types = [0] * len(got.ids)
    for span in got.spans:
        types[span.start : span.end] = [1] * span.length
    assert types == want["token_type_ids"][0].tolist()
    assert len(got.spans) == len(want["pixel_values"])
    assert any(isinstance(view, Crop) for view in got.images) == (
        crops == "on" and any(p in (WIDE, TALL) for _, said in turns for p in said)
    )
