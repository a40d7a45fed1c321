"""Messages to token ids, Gemma 3's way, with control tokens that only we can write.

The chat template is not rendered to a string and parsed back: control tokens are placed as ids,
and the text between two of them is tokenised as one literal string by a copy of the tokenizer
that knows no control tokens. So `<end_of_turn>` typed by a person is text, whatever they do.
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

# Added tokens that the tokenizer file doesn't mark as special in every edition, yet control.
_CONTROL = re.compile(
    r"<unused\d+>|\[multimodal\]|\[@BOS@\]|<(start|end)_of_(turn|image)>|<image_soft_token>"
    r"|<(pad|eos|bos|unk|mask)>"
)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_NO_CROPS = CropRule("off")
_CACHED_TEXTS = 2048  # personas and finished turns come again with every turn


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """The ids around and inside a picture and how many soft tokens it takes (Gemma 3: 256)."""

    start: int
    end: int
    soft: int
    count: int


class ChatTokenizer:
    """Builds prompts; turns ids back into bytes.

    Args:
        tokenizer: a transformers fast tokenizer of the Gemma 3 family.
        images: the picture tokens, or None for a model that sees nothing.
        vocab_size: ids at or above it don't exist in the model.
        crops: when pictures are shown in parts too, and which.
    """

    def __init__(
        self,
        tokenizer: Any,
        images: ImageTokens | None,
        vocab_size: int,
        crops: CropRule = _NO_CROPS,
    ) -> None:
        backend: Tokenizer = tokenizer.backend_tokenizer
        self._literal, control = _without_control_tokens(backend)
        self.control_ids: frozenset[int] = frozenset(control.values())
        self.bos: int = control["<bos>"]
        self.start_of_turn: int = control["<start_of_turn>"]
        self.end_of_turn: int = control["<end_of_turn>"]
        self.eos: int | None = control.get("<eos>")
        self.images = images
        self.crops = crops
        self.vocab_size = vocab_size
        self._encode = lru_cache(maxsize=_CACHED_TEXTS)(self._encode_uncached)

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """The prompt that asks for the next reply.

        Raises:
            ValueError: the list is empty, roles do not alternate, or a picture stands where the
                model can't take it.
        """
        check_messages(messages)
        out = _Builder(self)
        out.control(self.bos)
        prefix = ""
        if messages[0].role == "system":
            system = "".join(part.text for part in messages[0].parts if isinstance(part, Text))
            prefix = system + "\n\n" if system.strip() else ""
            messages = messages[1:]
        for message in messages:
            out.control(self.start_of_turn)
            role = "model" if message.role == "assistant" else "user"
            out.text(f"{role}\n{prefix}")
            prefix = ""
            for part in message.parts:
                if isinstance(part, Image):
                    out.image(part)
                elif message.role == "assistant" and self._reusable(part.token_ids):
                    out.generated(part.token_ids)
                else:
                    out.text(part.text.strip())
            out.control(self.end_of_turn)
            out.text("\n")
        out.control(self.start_of_turn)
        out.text("model\n")
        return out.done()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """The ids of `text` taken literally; never a control token, whatever it contains."""
        return self._encode(text)

    def piece(self, token_id: int) -> bytes:
        """The UTF-8 bytes a token stands for (possibly part of a character); control tokens: none.

        Source: the decoder in Gemma's tokenizer.json (▁ is a space, `<0xNN>` is a byte).
        """
        if token_id in self.control_ids:
            return b""
        piece = self._literal.id_to_token(token_id)
        if piece is None:  # the model's matrix is padded beyond the vocabulary
            return b""
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace("▁", " ").encode()

    def _encode_uncached(self, text: str) -> tuple[int, ...]:
        return tuple(self._literal.encode(text, add_special_tokens=False).ids)

    def _reusable(self, ids: tuple[int, ...]) -> bool:
        """Ids of a model with a larger vocabulary (the operator changed it) can't be reused."""
        return bool(ids) and min(ids) >= 0 and max(ids) < self.vocab_size


class _Builder:
    """Collects a prompt; text between two control tokens stays one string until it is tokenised."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._text: list[str] = []
        self._spans: list[ImageSpan] = []
        self._images: list[Image] = []

    def text(self, text: str) -> None:
        self._text.append(text)

    def control(self, token_id: int) -> None:
        self._flush()
        self._ids.append(token_id)

    def generated(self, ids: tuple[int, ...]) -> None:
        self._flush()
        ends = {self._tokenizer.end_of_turn, self._tokenizer.eos}
        stop = len(ids)
        while stop and ids[stop - 1] in ends:
            stop -= 1
        self._ids.extend(ids[:stop])

    def image(self, image: Image) -> None:
        """A picture and its crops, in Gemma3Processor's words."""
        crops = self._tokenizer.crops.crops(image)
        if not crops:
            self._view(image)
            return
        self.text("Here is the original image ")
        self._view(image)
        self.text(" and here are some crops to help you see better ")
        for number, crop in enumerate(crops):
            self.text(" " if number else "")
            self._view(crop)

    def _view(self, image: Image) -> None:
        """As Gemma3Processor does: two newlines on either side, merged with the text around."""
        tokens = self._tokenizer.images
        if tokens is None:
            raise ValueError("this model sees no pictures; leave them out of the messages")
        self.text("\n\n")
        self.control(tokens.start)
        self._spans.append(ImageSpan(len(self._ids), tokens.count, image.digest))
        self._ids.extend([tokens.soft] * tokens.count)
        self.control(tokens.end)
        self.text("\n\n")
        self._images.append(image)

    def done(self) -> Prompt:
        self._flush()
        return Prompt(tuple(self._ids), tuple(self._spans), tuple(self._images))

    def _flush(self) -> None:
        if text := "".join(self._text):
            self._ids.extend(self._tokenizer.encode_text(text))
        self._text.clear()


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse what Gemma 3's template can't express.

    Raises:
        ValueError: saying which message is wrong and why.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise ValueError("no user message")
    if any(isinstance(part, Image) for part in messages[0].parts) and turns is not messages:
        raise ValueError("a system message can't hold a picture")
    for number, message in enumerate(turns):
        want = "assistant" if number % 2 else "user"
        if message.role != want:
            raise ValueError(f"turn {number + 1} is the {message.role}'s, must be the {want}'s")
        if want == "assistant" and any(isinstance(part, Image) for part in message.parts):
            raise ValueError(f"turn {number + 1}: a reply can't hold a picture")
    if turns[-1].role != "user":
        raise ValueError("the last message must be the user's")


def _without_control_tokens(backend: Tokenizer) -> tuple[Tokenizer, dict[str, int]]:
    """A copy that treats control tokens as text, and the control tokens' ids.

    Plain added tokens (runs of newlines and tabs, HTML tags) stay: the model was trained on them.
    Only the list of added tokens is parsed: the whole file is 30 MB of JSON.
    """
    source = backend.to_str()
    key = '"added_tokens":'
    start = source.index(key) + len(key)
    added, end = json.JSONDecoder().raw_decode(source, start)
    plain: list[dict[str, Any]] = []
    control: dict[str, int] = {}
    for token in added:
        if token["special"] or _CONTROL.fullmatch(token["content"]):
            control[token["content"]] = token["id"]
        else:
            plain.append(token)
    return Tokenizer.from_str(source[:start] + json.dumps(plain) + source[end:]), control
