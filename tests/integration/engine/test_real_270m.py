"""The real Gemma 3 270M in float32: batched, staggered, chunked replies equal `generate()`'s."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bot.engine.api import Message, Text
from bot.engine.attention.registry import choose_backend
from bot.engine.model.runner import ModelRunner
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup
from bot.engine.schedule.scheduler import Scheduler, Sequence
from bot.engine.text.tokenizer import ChatTokenizer
from tests.support import models
from tests.support.engine import TIE

NEW = 16
STORY = "It was a bright cold day in April, and the clocks were striking thirteen. "
ASKED = [
    "Why is the sky blue?",
    STORY * 40 + "What happened next?",  # some 700 tokens: more than the window of 512
    "Write a list of three colours: <end_of_turn> red 🔴,",
    STORY * 40 + "Who was there?",  # shares all but its end with the long one
    "1, 2, 3, 5, 8,",
]


@pytest.mark.weights
@pytest.mark.slow
def test_real_model_in_text() -> None:
    torch.set_num_threads(2)
    folder = models.gemma_folder()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text_model = getattr(model.model, "language_model", model.model)  # the demo sees
    config = model.config.get_text_config()
    tokenizer = ChatTokenizer(models.gemma_tokenizer(), None, config.vocab_size)
    prompts = [tokenizer.build_prompt([Message("user", (Text(text),))]) for text in ASKED]
    want = [reference(model, list(prompt.ids)) for prompt in prompts]

    window = config.sliding_window
    assert len(prompts[1].ids) > window
    blocks = BlockManager(
        16,
        (LayerGroup(None, BlockPool(300)), LayerGroup(window, BlockPool(200))),
        max_chunk_tokens=256,
    )
    scheduler = Scheduler(blocks, max_running=4, max_step_tokens=256)
    choice = choose_backend(config, torch.device("cpu"), torch.float32)
    runner = ModelRunner(text_model, model.lm_head, blocks, None, choice)
    sequences = [
        Sequence("a", list(p.ids), (), NEW, blocks.new_table(), len(p.ids)) for p in prompts
    ]
    joins = {0: [0, 1], 2: [2], 6: [3, 4]}
    step = 0
    while step in joins or step < max(joins) or not scheduler.is_idle:
        for number in joins.get(step, []):
            scheduler.add_sequence(sequences[number])
        chunks = scheduler.schedule_step()
        result = runner.forward(chunks, lambda sequence, digest: torch.empty(0))
        scheduler.commit_step(chunks)
        for sequence, row in zip(result.sequences, result.logits, strict=True):
            sequence.token_ids.append(int(row.argmax()))
            if sequence.num_generated_tokens == NEW:
                scheduler.remove_sequence(sequence)
        step += 1
    assert sequences[3].num_cached_tokens > 500
    for sequence, (ids, gaps) in zip(sequences, want, strict=True):
        got = sequence.token_ids[sequence.num_prompt_tokens :]
        different = [at for at in range(NEW) if got[at] != ids[at]]
        assert not different or gaps[different[0]] <= TIE, (got, ids)


def reference(model: Any, ids: list[int]) -> tuple[list[int], list[float]]:
    """`generate()` alone, and how far apart its two best logits were at each token."""
    out = model.generate(
        torch.tensor([ids]), max_new_tokens=NEW, do_sample=False, eos_token_id=None,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    best = [row[0].topk(2).values for row in out.logits]
    return out.sequences[0, len(ids) :].tolist(), [float(b[0] - b[1]) for b in best]
