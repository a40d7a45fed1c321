"""Train the demo's chat adapter: LoRA on a frozen bf16 Gemma 3 270M, loss on the replies only.

python -m bot.demo.prepare --base BASE
python -m bot.demo.training.train --base BASE --out OUT
"""

from __future__ import annotations

import argparse
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bot.demo.eyes.scene import SLOTS
from bot.demo.eyes.words import slot_token_ids

from .build import SEED, Chat, build_chats
from .lora import (
    SampledVocabulary,
    add_lora,
    chunked_cross_entropy,
    load_adapter,
    save_adapter,
)
from .sight import PICTURE

MODEL_TURN = [105, 4368, 107]  # <start_of_turn>model\n
END_OF_TURN = 106
START_OF_IMAGE = 255999
#: The most noise (relative to the embedding's norm) and the largest share of another picture that
#: stand-in tokens get, since the tower makes errors.
NOISE, BLEND = 0.2, 0.25


@dataclass(frozen=True)
class Example:
    """A chat's ids, the positions of Parley's own tokens, and the start of each picture's slots."""

    ids: list[int]
    replies: list[int]
    pictures: tuple[int, ...] = ()


def encode(tokenizer: Any, chat: Chat) -> Example:
    """Encode a whole chat, with the positions of the replies to learn."""
    ids, pictures = _layout(tokenizer, chat, prompt=False)
    replies: list[int] = []
    inside = False
    for position, token in enumerate(ids):
        if inside:
            replies.append(position)
            inside = token != END_OF_TURN
        elif ids[position - 2 : position + 1] == MODEL_TURN:
            inside = True
    end = replies[-1] + 1  # skip the final line break, which teaches nothing
    return Example(ids[:end], replies, pictures)


def encode_prompt(tokenizer: Any, chat: Chat) -> Example:
    """Encode a chat that ends with the user, plus the start of the model's reply."""
    ids, pictures = _layout(tokenizer, chat, prompt=True)
    return Example(ids, [], pictures)


def _layout(tokenizer: Any, chat: Chat, *, prompt: bool) -> tuple[list[int], tuple[int, ...]]:
    """Ids in the layout of Gemma's processor, with the slots' words as soft tokens."""
    text = tokenizer.apply_chat_template(
        chat.messages(), tokenize=False, add_generation_prompt=prompt
    )
    text = text.replace(PICTURE, f"\n\n{PICTURE}<end_of_image>\n\n")
    ids: list[int] = []
    pictures: list[int] = []
    scenes = iter(chat.scenes)
    for token in tokenizer.encode(text, add_special_tokens=False):
        ids.append(token)
        if token == START_OF_IMAGE:
            pictures.append(len(ids))
            ids += slot_token_ids(next(scenes), tokenizer)
    return ids, tuple(pictures)


def batches(examples: list[Example], tokens: int, rng: random.Random) -> list[list[Example]]:
    """Shuffled batches of about `tokens` padded tokens, each of chats of similar length."""
    ordered = sorted(examples, key=lambda example: (len(example.ids), rng.random()))
    result: list[list[Example]] = [[]]
    for example in ordered:
        if result[-1] and len(example.ids) * (len(result[-1]) + 1) > tokens:
            result.append([])
        result[-1].append(example)
    rng.shuffle(result)
    return result


def loss_of(model: Any, batch: list[Example], vocabulary: SampledVocabulary) -> Tensor:
    """The loss on reply tokens; right padding needs no mask with causal attention."""
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    rows, columns, targets = [], [], []
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        for position in example.replies:
            rows.append(row)
            columns.append(position - 1)
            targets.append(example.ids[position])
    hidden = model.model(
        inputs_embeds=embed(model, ids, batch),
        attention_mask=picture_masks(batch, width),
        use_cache=False,
    ).last_hidden_state
    picked = hidden[torch.tensor(rows), torch.tensor(columns)]
    words, indexes, bias = vocabulary.sample(torch.tensor(targets))
    weight = model.lm_head.weight[words]
    return chunked_cross_entropy(picked, weight, indexes, bias=bias.to(weight.dtype))


def embed(model: Any, ids: Tensor, batch: list[Example]) -> Tensor:
    """Word embeddings, with pictures' perturbed: blended with another picture, and noisy."""
    with torch.no_grad():
        embeddings: Tensor = model.model.embed_tokens(ids).clone()
        spots = [(row, start) for row, example in enumerate(batch) for start in example.pictures]
        if spots:
            slots = torch.arange(len(SLOTS))
            rows = torch.tensor([row for row, _ in spots])[:, None]
            columns = torch.tensor([start for _, start in spots])[:, None] + slots
            right = embeddings[rows, columns].float()
            share = torch.rand(len(spots), 1, 1) * BLEND
            mixed = (1 - share) * right + share * right[torch.randperm(len(spots))]
            size = right.std(-1, keepdim=True) * torch.rand(len(spots), 1, 1) * NOISE
            mixed += size * torch.randn_like(mixed)
            embeddings[rows, columns] = mixed.to(embeddings.dtype)
    return embeddings


def picture_masks(batch: list[Example], width: int) -> dict[str, Tensor] | None:
    """Causal masks in which a picture's slots see each other; None without pictures."""
    if not any(example.pictures for example in batch):
        return None
    mask = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(batch), 1, 1, 1)
    for row, example in enumerate(batch):
        for start in example.pictures:
            end = start + len(SLOTS)
            mask[row, 0, start:end, start:end] = True
    return {
        "full_attention": mask,
        "sliding_attention": mask,
    }  # all chats are shorter than the window


def rate(step: int, steps: int, peak: float, warmup: int) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def schedule(examples: list[Example], epochs: int, tokens: int, seed: int) -> list[list[Example]]:
    """The batches of all epochs in sequence, each epoch in its own order."""
    return [
        batch
        for epoch in range(epochs)
        for batch in batches(examples, tokens, random.Random(seed * 100 + epoch))
    ]


def focused(chats: list[Chat], kinds: str, seed: int) -> list[Chat]:
    """The chats whose kind matches `kinds` (all if it is empty), and as many others at random, so
    that fine-tuning on some kinds doesn't make the model forget the rest."""
    matching = [chat for chat in chats if re.fullmatch(kinds, chat.kind)]
    if not kinds:
        return chats
    others = [chat for chat in chats if not re.fullmatch(kinds, chat.kind)]
    return matching + random.Random(seed).sample(others, min(len(matching), len(others)))


def train(options: argparse.Namespace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model: Any = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.bfloat16)
    parameters = add_lora(model, options.rank, options.alpha)
    if options.resume:
        load_adapter(model, options.resume)
    model.train()
    chats = focused(build_chats(options.seed), options.focus, options.seed)
    examples = [encode(tokenizer, chat) for chat in chats]
    used = [example.ids[position] for example in examples for position in example.replies]
    vocabulary = SampledVocabulary(used, model.lm_head.weight.shape[0], options.sampled)
    plan = schedule(examples, options.epochs, options.tokens, options.seed)
    plan = plan[options.first : options.last]
    steps = len(plan)
    print(
        f"{len(examples)} chats, {sum(len(e.ids) for e in examples)} tokens, "
        f"{sum(len(e.replies) for e in examples)} of replies; {steps} steps; "
        f"{sum(p.numel() for p in parameters) / 1e6:.1f} M parameters",
        flush=True,
    )
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.0)
    started, seen, running = time.monotonic(), 0, 0.0
    path = options.out / "adapter.safetensors"
    for step, batch in enumerate(plan):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, options.rate, options.warmup)
        loss = loss_of(model, batch, vocabulary)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += sum(len(example.ids) for example in batch)
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        done = step + 1
        if done % 10 == 0 or done == steps:
            spent = time.monotonic() - started
            print(
                f"step {done}/{steps} loss {running:.3f} {seen / spent:.0f} tokens/s "
                f"{spent / 60:.1f} min",
                flush=True,
            )
        if done % options.save_every == 0 or done in (steps, options.stop):
            save_adapter(model, path, options.rank, options.alpha)
        if done == options.stop:
            break
    print(f"saved {path}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, required=True, help="folder of the prepared base model"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--resume", type=Path, help="adapter to continue from")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--warmup", type=int, default=25)
    parser.add_argument("--tokens", type=int, default=1024, help="padded tokens a batch")
    parser.add_argument("--sampled", type=int, default=16384, help="unused words in each softmax")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--save-every", type=int, default=50, help="steps between safety copies")
    parser.add_argument("--first", type=int, default=0, help="skip so many steps of the plan")
    parser.add_argument("--last", type=int, help="end the plan after so many steps")
    parser.add_argument("--focus", default="", help="kinds of chats (a regex) to polish")
    parser.add_argument("--stop", type=int, default=0, help="break off here, schedule unchanged")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
