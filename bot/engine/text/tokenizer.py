"""Turns messages into token ids in Gemma 3's format; users can't inject control tokens.

The chat template is not rendered to a string and parsed back: control tokens are placed as ids,
and the text between two of them is tokenized as one literal string by a copy of the tokenizer
without control tokens. So `<end_of_turn>` typed by a person is always plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

from bot.engine.api import Image, Message, Text
from bot.engine.prompt import ImageSpan, Prompt
from bot.engine.text.pan_and_scan import CropRule

# Control tokens; some releases of the tokenizer file don't mark all of them as special.
_CONTROL_TOKEN = re.compile(
    r"<unused\d+>|\[multimodal\]|\[@BOS@\]|<(start|end)_of_(turn|image)>|<image_soft_token>"
    r"|<(pad|eos|bos|unk|mask)>"
)
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_NO_CROPS = CropRule("off")
_CACHED_TEXTS = 2048  # personas and finished turns recur in every prompt


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """The ids that delimit and fill a picture, and its number of soft tokens (Gemma 3: 256)."""

    start_id: int
    end_id: int
    soft_id: int
    num_soft_tokens: int


class ChatTokenizer:
    """Builds prompts and turns token ids back into bytes.

    Args:
        tokenizer: a transformers fast tokenizer of the Gemma 3 family.
        image_tokens: the picture tokens, or None for a text-only model.
        vocab_size: the model has no ids at or above it.
        crop_rule: when and how pictures are cropped.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_tokens: ImageTokens | None,
        vocab_size: int,
        crop_rule: CropRule = _NO_CROPS,
    ) -> None:
        backend: Tokenizer = tokenizer.backend_tokenizer
        self._literal, control = _without_control_tokens(backend)
        self.control_ids: frozenset[int] = frozenset(control.values())
        self.bos: int = control["<bos>"]
        self.start_of_turn: int = control["<start_of_turn>"]
        self.end_of_turn: int = control["<end_of_turn>"]
        self.eos: int | None = control.get("<eos>")
        self.image_tokens = image_tokens
        self.crop_rule = crop_rule
        self.vocab_size = vocab_size
        self._encode = lru_cache(maxsize=_CACHED_TEXTS)(self._encode_uncached)

    def build_prompt(self, messages: Sequence[Message]) -> Prompt:
        """The prompt for the next reply.

        Raises:
            ValueError: the list is empty, roles don't alternate, or a picture is where the model
                can't take one.
        """
        check_messages(messages)
        builder = _PromptBuilder(self)
        builder.add_control_token(self.bos)
        prefix = ""
        if messages[0].role == "system":
            system = "".join(part.text for part in messages[0].parts if isinstance(part, Text))
            prefix = system + "\n\n" if system.strip() else ""
            messages = messages[1:]
        for message in messages:
            builder.add_control_token(self.start_of_turn)
            role = "model" if message.role == "assistant" else "user"
            builder.add_text(f"{role}\n{prefix}")
            prefix = ""
            for part in message.parts:
                if isinstance(part, Image):
                    builder.add_image(part)
                elif message.role == "assistant" and self._can_reuse_ids(part.token_ids):
                    builder.add_generated_ids(part.token_ids)
                else:
                    builder.add_text(part.text.strip())
            builder.add_control_token(self.end_of_turn)
            builder.add_text("\n")
        builder.add_control_token(self.start_of_turn)
        builder.add_text("model\n")
        return builder.build_prompt()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Tokenize `text` literally: never a control token, whatever it contains."""
        return self._encode(text)

    def token_to_bytes(self, token_id: int) -> bytes:
        """A token's UTF-8 bytes, possibly part of a character; empty for control tokens.

        Follows the decoder in Gemma's tokenizer.json: ▁ is a space, `<0xNN>` a byte.
        """
        if token_id in self.control_ids:
            return b""
        piece = self._literal.id_to_token(token_id)
        if piece is None:  # the model's matrix is padded beyond the vocabulary
            return b""
        if byte := _BYTE_TOKEN.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace("▁", " ").encode()

    def _encode_uncached(self, text: str) -> tuple[int, ...]:
        return tuple(self._literal.encode(text, add_special_tokens=False).ids)

    def _can_reuse_ids(self, ids: tuple[int, ...]) -> bool:
        """Whether stored ids exist in this model; they may come from one with more of them."""
        return bool(ids) and min(ids) >= 0 and max(ids) < self.vocab_size


class _PromptBuilder:
    """Collects a prompt; joins text between two control tokens before tokenizing it."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._text: list[str] = []
        self._spans: list[ImageSpan] = []
        self._images: list[Image] = []

    def add_text(self, text: str) -> None:
        self._text.append(text)

    def add_control_token(self, token_id: int) -> None:
        self._flush_text()
        self._ids.append(token_id)

    def add_generated_ids(self, ids: tuple[int, ...]) -> None:
        self._flush_text()
        ends = {self._tokenizer.end_of_turn, self._tokenizer.eos}
        stop = len(ids)
        while stop and ids[stop - 1] in ends:
            stop -= 1
        self._ids.extend(ids[:stop])

    def add_image(self, image: Image) -> None:
        """Add a picture and its crops, with Gemma3Processor's wording."""
        crops = self._tokenizer.crop_rule.crop_image(image)
        if not crops:
            self._add_view(image)
            return
        self.add_text("Here is the original image ")
        self._add_view(image)
        self.add_text(" and here are some crops to help you see better ")
        for number, crop in enumerate(crops):
            self.add_text(" " if number else "")
            self._add_view(crop)

    def _add_view(self, image: Image) -> None:
        """Add one picture or crop between double newlines, as Gemma3Processor does."""
        tokens = self._tokenizer.image_tokens
        if tokens is None:
            raise ValueError("this model is text-only; leave pictures out of the messages")
        self.add_text("\n\n")
        self.add_control_token(tokens.start_id)
        self._spans.append(ImageSpan(len(self._ids), tokens.num_soft_tokens, image.digest))
        self._ids.extend([tokens.soft_id] * tokens.num_soft_tokens)
        self.add_control_token(tokens.end_id)
        self.add_text("\n\n")
        self._images.append(image)

    def build_prompt(self) -> Prompt:
        self._flush_text()
        return Prompt(tuple(self._ids), tuple(self._spans), tuple(self._images))

    def _flush_text(self) -> None:
        if text := "".join(self._text):
            self._ids.extend(self._tokenizer.encode_text(text))
        self._text.clear()


def check_messages(messages: Sequence[Message]) -> None:
    """Reject messages that Gemma 3's template can't express.

    Raises:
        ValueError: says which message is wrong and why.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise ValueError("no user message")
    if any(isinstance(part, Image) for part in messages[0].parts) and turns is not messages:
        raise ValueError("a system message can't hold a picture")
    for number, message in enumerate(turns):
        expected_role = "assistant" if number % 2 else "user"
        if message.role != expected_role:
            raise ValueError(
                f"turn {number + 1} is the {message.role}'s, must be the {expected_role}'s"
            )
        if expected_role == "assistant" and any(isinstance(part, Image) for part in message.parts):
            raise ValueError(f"turn {number + 1}: a reply can't hold a picture")
    if turns[-1].role != "user":
        raise ValueError("the last message must be the user's")


def _without_control_tokens(backend: Tokenizer) -> tuple[Tokenizer, dict[str, int]]:
    """A copy of the tokenizer that treats control tokens as text, and the control tokens' ids.

    Plain added tokens (runs of newlines and tabs, HTML tags) stay: the model was trained on them.
    Only the list of added tokens is parsed, since the whole file is 30 MB of JSON.
    """
    source = backend.to_str()
    key = '"added_tokens":'
    start = source.index(key) + len(key)
    added, end = json.JSONDecoder().raw_decode(source, start)
    plain: list[dict[str, Any]] = []
    control: dict[str, int] = {}
    for token in added:
        if token["special"] or _CONTROL_TOKEN.fullmatch(token["content"]):
            control[token["content"]] = token["id"]
        else:
            plain.append(token)
    return Tokenizer.from_str(source[:start] + json.dumps(plain) + source[end:]), control
