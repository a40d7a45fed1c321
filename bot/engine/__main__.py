"""Ask a model several questions at once: `python -m bot.engine MODEL QUESTION [QUESTION ...]`."""

from __future__ import annotations

import asyncio
import sys

from bot.engine.api import Delta, EngineError, Message, SamplingParams, Text
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig


async def get_reply(engine: LocalEngine, question: str) -> str:
    messages = [Message("user", (Text(question),))]
    stream = engine.stream(messages, SamplingParams(), owner=question, conversation=question)
    return "".join([item.text async for item in stream if isinstance(item, Delta)])


async def main(model: str, questions: list[str]) -> None:
    """Answer all questions in one batch; print the replies in the questions' order."""
    config = LocalEngineConfig(model, quantize="auto", progress=lambda s: print(s, file=sys.stderr))
    async with LocalEngine(config) as engine:
        replies = await asyncio.gather(*(get_reply(engine, question) for question in questions))
    for question, reply in zip(questions, replies, strict=True):
        print(f"> {question}\n{reply}\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m bot.engine MODEL QUESTION [QUESTION ...]")
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
    except EngineError as error:
        sys.exit(str(error))
