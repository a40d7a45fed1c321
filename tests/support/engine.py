"""Drives scheduler, runner and vision step by step, and compares with `generate()`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bot.engine.api import Image, Message
from bot.engine.attention.base import BackendChoice, BackendQuery, ComputeLogits
from bot.engine.attention.module_layers import build_module_layers, module_logits
from bot.engine.attention.registry import choose_backend
from bot.engine.cpu.lean_model import LeanGemma, Linear
from bot.engine.cuda.graphs import Outputs
from bot.engine.cuda.varlen_attention import VarlenBackend
from bot.engine.model.runner import ModelRunner
from bot.engine.model.vision import Vision
from bot.engine.prompt import Prompt
from bot.engine.schedule.block_manager import BlockManager, BlockPool, LayerGroup
from bot.engine.schedule.scheduler import Scheduler, Sequence
from bot.engine.text.tokenizer import ChatTokenizer, ImageTokens
from tests.support import models, toy_backend

TIE = 1e-4  # the reference's two best logits may lie this close together without meaning anything


def chat_tokenizer(*, sees: bool) -> ChatTokenizer:
    tokenizer = models.tiny_tokenizer()
    boi, eoi, soft = tokenizer.convert_tokens_to_ids([*models.IMAGE, models.SOFT])
    images = ImageTokens(boi, eoi, soft, models.IMAGE_TOKENS) if sees else None
    return ChatTokenizer(tokenizer, images, len(tokenizer))


def float_linear(*weights: torch.Tensor) -> Linear:
    """Weights below one another, as they are."""
    whole = torch.cat([weight.detach() for weight in weights])
    return lambda rows: torch.nn.functional.linear(rows, whole)


def emulated_varlen_attn(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, ends: torch.Tensor, _: None,
    longest_query: int, longest_key: int, *, scale: float, window_size: tuple[int, int],
    enable_gqa: bool, seqused_k: torch.Tensor, block_table: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """What `torch.nn.attention.varlen.varlen_attn` is documented to compute, one by one."""
    assert enable_gqa
    assert window_size[1] == 0
    assert {t.dtype for t in (ends, seqused_k, block_table)} == {torch.int32}
    out = torch.empty_like(queries)
    for n, used in enumerate(seqused_k.tolist()):
        first, end = ends[n : n + 2].tolist()
        assert end - first <= longest_query
        assert used <= longest_key
        key, value = (
            pool[block_table[n].long()].flatten(0, 1)[:used].transpose(0, 1)
            for pool in (keys, values)
        )
        at = torch.arange(used - (end - first), used)[:, None]
        seen = torch.arange(used)
        mask = seen <= at
        if window_size[0] >= 0:
            mask &= seen >= at - window_size[0]
        out[first:end] = torch.nn.functional.scaled_dot_product_attention(
            queries[first:end].transpose(0, 1), key, value,
            attn_mask=mask, scale=scale, enable_gqa=True,
        ).transpose(0, 1)  # fmt: skip
    return out


def build_lean_layers(text_model: Any, head: Any) -> tuple[LeanGemma, ComputeLogits]:
    """The layers of the 8-bit path, with linear layers in float32."""
    logits = module_logits(text_model.config, head, head.weight.device)
    return LeanGemma(text_model, float_linear), logits


def backend_choice(config: Any, kernel: str, size: int, *, lean: bool = False) -> BackendChoice:
    """What to run a float32 model on.

    `kernel`: "portable", "toy", "varlen" (emulated) or "triton" (interpreted); with recorded steps
    too: "graphs", "triton-graphs".
    """
    cpu = torch.device("cpu")
    if kernel.startswith("triton"):
        from bot.engine.cuda import triton_backend  # Triton isn't there on every platform

        backend = triton_backend.TritonBackend(config, cpu, torch.float32, size)
        choice = BackendChoice(backend, triton_backend.build_layers, torch.float32, "float32")
    elif kernel == "toy":
        with toy_backend.registered():
            choice = choose_backend(config, cpu, torch.float32, block_size=size)
    elif kernel == "portable":
        choice = choose_backend(config, cpu, torch.float32, block_size=size)
    else:
        varlen = VarlenBackend(BackendQuery(config, cpu, torch.float32), size)
        choice = BackendChoice(varlen, build_module_layers, torch.float32, "float32")
    return replace(choice, build_layers=build_lean_layers) if lean else choice


def rerun(step: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
    """A "recording" that computes the step again, into the same outputs."""
    outputs = step()

    def replay() -> None:
        for old, new in zip(outputs, step(), strict=True):
            old.copy_(new)

    return replay, outputs


@dataclass
class Ask:
    """A reply wanted: joins before step `at`, is cancelled before step `until`."""

    messages: list[Message]
    new: int = 16
    at: int = 0
    until: int | None = None
    owner: str = "a"
    prompt: Prompt = field(init=False)
    sequence: Sequence | None = None
    reply: list[int] = field(default_factory=list)


class Rig:
    """A batcher without threads."""

    def __init__(self, reference: Any, *, sees: bool) -> None:
        self.reference = reference
        self.model = copy.deepcopy(reference)
        self.tokenizer = chat_tokenizer(sees=sees)
        self.text = self.model.model.language_model if sees else self.model.model
        self.vision = Vision(self.model, models.tiny_processor().image_processor, 2**20)
        self.window = self.text.config.sliding_window

    def build(
        self,
        *,
        size: int,
        blocks: int,
        running: int,
        step: int,
        reuse: bool = True,
        lean: bool = False,
        kernel: str = "portable",
    ) -> None:
        """A fresh pool and scheduler. `blocks`: of the full layers' pool.

        `lean`: through the model code of the 8-bit path, with linear layers in float32.
        `kernel`: see `backend_choice`.
        `size`: tokens a block; "toy" has its own.
        """
        choice = backend_choice(self.text.config, kernel, size, lean=lean)
        self.blocks = BlockManager(
            choice.attention.block_size,
            (LayerGroup(None, BlockPool(blocks)), LayerGroup(self.window, BlockPool(blocks))),
            max_chunk_tokens=max(step, models.IMAGE_TOKENS),
            prefix_cache=reuse,
        )
        self.scheduler = Scheduler(self.blocks, max_running=running, max_step_tokens=step)
        images = self.tokenizer.image_tokens
        self.runner = ModelRunner(
            self.text,
            self.model.lm_head,
            self.blocks,
            images.soft_id if images else None,
            choice,
        )
        if kernel.endswith("graphs"):
            self.runner.record_graphs(rerun, max_context=blocks * size, max_batch=3)

    def run(self, asks: Iterable[Ask]) -> None:
        """Serve them all; every step is checked for what must always hold."""
        todo = list(asks)
        for ask in todo:
            ask.prompt = self.tokenizer.build_prompt(ask.messages)
        step = 0
        while any(not self._over(ask) for ask in todo):
            for ask in todo:
                if ask.sequence is None and ask.at <= step:
                    ask.sequence = Sequence(
                        owner=ask.owner,
                        token_ids=list(ask.prompt.ids),
                        image_spans=ask.prompt.spans,
                        max_new_tokens=ask.new,
                        block_table=self.blocks.new_table(),
                        num_prompt_tokens=len(ask.prompt.ids),
                    )
                    self.scheduler.add_sequence(ask.sequence)
                elif ask.until is not None and self._alive(ask) and ask.until <= step:
                    assert ask.sequence is not None
                    ask.reply = ask.sequence.token_ids[ask.sequence.num_prompt_tokens :]
                    ask.new = ask.sequence.num_generated_tokens
                    self.scheduler.remove_sequence(ask.sequence)
            self._step(todo)
            step += 1
            assert step < 5000, "no progress"
        assert self.scheduler.is_idle

    def free(self) -> bool:
        """Has every block come back?"""
        return all(g.pool.num_available == g.pool.num_blocks for g in self.blocks.groups)

    def check(self, asks: Iterable[Ask]) -> None:
        """Each reply is token for token what `generate()` says alone."""
        for ask in asks:
            self._check(ask.prompt, ask.reply)

    def _alive(self, ask: Ask) -> bool:
        return ask.sequence is not None and not self._over(ask)

    def _over(self, ask: Ask) -> bool:
        return ask.sequence is not None and len(ask.reply) >= ask.new

    def _step(self, asks: list[Ask]) -> None:
        chunks = self.scheduler.schedule_step()
        if not chunks:
            assert self.scheduler.is_idle
            return
        result = self.runner.forward(chunks, self._features)
        assert not result.broken
        self.scheduler.commit_step(chunks)
        for sequence, row in zip(result.sequences, result.logits, strict=True):
            sequence.token_ids.append(int(row.argmax()))
            if sequence.num_generated_tokens >= sequence.max_new_tokens:
                (ask,) = [a for a in asks if a.sequence is sequence]
                ask.reply = sequence.token_ids[sequence.num_prompt_tokens :]
                self.scheduler.remove_sequence(sequence)

    def _features(self, _: Sequence, digest: str) -> torch.Tensor:
        if (found := self.vision.get_cached(digest)) is None:
            found = self.vision.run_tower({digest: self.vision.preprocess_image(PICTURES[digest])})[
                digest
            ]
        return found

    def _inputs(self, prompt: Prompt) -> dict[str, Any]:
        ids = torch.tensor([prompt.ids])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if prompt.spans:
            types = torch.zeros_like(ids)
            for span in prompt.spans:
                types[0, span.start : span.end] = 1
            pixels = [self.vision.preprocess_image(PICTURES[s.digest]) for s in prompt.spans]
            inputs |= {"token_type_ids": types, "pixel_values": torch.stack(pixels)}
        return inputs

    def _check(self, prompt: Prompt, reply: list[int]) -> None:
        inputs = self._inputs(prompt)
        out = self.reference.generate(
            **inputs,
            max_new_tokens=max(1, len(reply)),
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
        want = out.sequences[0, len(prompt.ids) :].tolist()[: len(reply)]
        for at, (ours, theirs) in enumerate(zip(reply, want, strict=True)):
            if ours != theirs:
                best = out.logits[at][0].float().topk(2)
                gap = float(best.values[0] - best.values[1])
                assert gap <= TIE, (at, reply, want, gap)
                assert ours in best.indices.tolist()
                return  # from here on both continue different texts


PICTURES: dict[str, Image] = {p.digest: p for p in map(models.picture, range(4))}
