"""`bot.core.ports.Store` in memory, for tests of the core alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from bot.core.events import Author, MessageReceived, ThreadKey
from bot.core.records import (
    Accepted,
    NormalisedImage,
    PersonaVersion,
    SamplingOverrides,
    StoredAttachment,
    Turn,
    TurnState,
    TurnUsage,
    UserMessage,
)

_FINISHED = (TurnState.DELIVERED, TurnState.FAILED, TurnState.CANCELLED)


@dataclass
class MemoryStore:
    """Keeps everything in dictionaries; `failing` names methods that raise."""

    turns: dict[int, Turn] = field(default_factory=dict)
    usage: list[TurnUsage] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    _images: dict[str, bytes] = field(default_factory=dict)
    _claims: set[tuple[str, str, str, str]] = field(default_factory=set)
    _conversations: dict[ThreadKey, int] = field(default_factory=dict)
    _versions: list[PersonaVersion] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def _check(self, method: str) -> None:
        if method in self.failing:
            raise ConnectionError(f"the database failed in {method}")

    async def accept(self, key: ThreadKey, event: MessageReceived) -> Accepted | None:
        self._check("accept")
        claim = (key.platform, key.workspace, key.channel, event.id)
        if claim in self._claims:
            return None
        self._claims.add(claim)
        conversation = self._conversations.setdefault(key, next(self._ids))
        files = tuple(StoredAttachment(next(self._ids), a.name) for a in event.attachments)
        message = UserMessage(
            next(self._ids), event.id, event.author.id, event.author.name, event.text, files,
            event.at,
        )  # fmt: skip
        waiting = [t for t in self._of(key) if t.state is TurnState.ACCEPTED]
        turn = (
            replace(waiting[-1], messages=(*waiting[-1].messages, message))
            if waiting
            else Turn(next(self._ids), conversation, key, TurnState.ACCEPTED, (message,))
        )
        self.turns[turn.id] = turn
        return Accepted(turn.id, message.id, tuple(f.id for f in files), bool(waiting))

    async def set_attachment(
        self, attachment_id: int, image: NormalisedImage | None, problem: str | None
    ) -> None:
        self._check("set_attachment")
        if image is not None:
            self._images[image.digest] = image.data
        digest = image.digest if image is not None else None
        for turn in self.turns.values():
            messages = tuple(
                replace(
                    message,
                    attachments=tuple(
                        replace(a, digest=digest, problem=problem) if a.id == attachment_id else a
                        for a in message.attachments
                    ),
                )
                for message in turn.messages
            )
            self.turns[turn.id] = replace(turn, messages=messages)

    async def image(self, digest: str) -> bytes | None:
        return self._images.get(digest)

    async def next_turn(self, key: ThreadKey) -> Turn | None:
        self._check("next_turn")
        for turn in self._of(key):
            if turn.state is TurnState.ACCEPTED:
                return self._change(turn.id, state=TurnState.ANSWERING)
        return None

    async def reopen_turn(self, turn_id: int) -> Turn | None:
        if turn_id not in self.turns:
            return None
        return self._change(
            turn_id, state=TurnState.ANSWERING, reply_text="", reply_token_ids=(),
            finish_reason=None, ref=None,
        )  # fmt: skip

    async def save_reply(
        self,
        turn_id: int,
        state: TurnState,
        *,
        text: str = "",
        token_ids: Sequence[int] = (),
        finish_reason: str | None = None,
        posted: Sequence[str] = (),
        ref: str | None = None,
        usage: TurnUsage | None = None,
    ) -> None:
        self._check("save_reply")
        if usage is not None:
            self.usage.append(usage)
        if turn_id in self.turns:
            self._change(
                turn_id, state=state, reply_text=text, reply_token_ids=tuple(token_ids),
                finish_reason=finish_reason, ref=ref,
                posted=tuple(posted) or self.turns[turn_id].posted,
            )  # fmt: skip

    async def set_posted(self, turn_id: int, posted: Sequence[str]) -> None:
        if turn_id in self.turns:
            self._change(turn_id, posted=tuple(posted))

    async def turn(self, turn_id: int) -> Turn | None:
        return self.turns.get(turn_id)

    async def transcript(self, key: ThreadKey, before_turn: int | None = None) -> list[Turn]:
        return [
            turn
            for turn in self._of(key)
            if turn.state in _FINISHED
            and turn.reply_text
            and (before_turn is None or turn.id < before_turn)
        ]

    async def unfinished(self) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.state not in _FINISHED]

    async def release_turn(self, turn_id: int) -> None:
        turn = self.turns.get(turn_id)
        if turn is not None and turn.state is TurnState.ANSWERING:
            self._change(turn_id, state=TurnState.ACCEPTED)

    async def edit_message(self, key: ThreadKey, platform_id: str, text: str) -> Turn | None:
        turn = self._with_message(key, platform_id)
        if turn is None:
            return None
        messages = tuple(
            replace(m, text=text) if m.platform_id == platform_id else m for m in turn.messages
        )
        return self._change(turn.id, messages=messages)

    async def delete_message(self, key: ThreadKey, platform_id: str) -> Turn | None:
        before = self._with_message(key, platform_id)
        if before is None:
            return None
        left = tuple(m for m in before.messages if m.platform_id != platform_id)
        if left:
            self._change(before.id, messages=left)
        else:
            del self.turns[before.id]
        return before

    async def has_conversation(self, key: ThreadKey) -> bool:
        return key in self._conversations

    async def reset(self, key: ThreadKey) -> int:
        gone = self._of(key)
        for turn in gone:
            del self.turns[turn.id]
        return len(gone)

    async def personas(self, scopes: Sequence[ThreadKey]) -> Mapping[ThreadKey, PersonaVersion]:
        return {version.scope: version for version in self._versions if version.scope in scopes}

    async def persona_history(self, scope: ThreadKey) -> list[PersonaVersion]:
        return [version for version in reversed(self._versions) if version.scope == scope]

    async def add_persona_version(
        self,
        scope: ThreadKey,
        text: str | None,
        sampling: SamplingOverrides,
        by: Author,
        name: str | None = None,
    ) -> PersonaVersion:
        version = PersonaVersion(
            next(self._ids), scope, text, sampling, name, by.id, by.name, datetime.now(UTC)
        )
        self._versions.append(version)
        return version

    def _of(self, key: ThreadKey) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.key == key]

    def _with_message(self, key: ThreadKey, platform_id: str) -> Turn | None:
        for turn in self.turns.values():
            here = turn.key.in_thread("") == key.in_thread("")
            if here and any(m.platform_id == platform_id for m in turn.messages):
                return turn
        return None

    def _change(self, turn_id: int, **values: object) -> Turn:
        self.turns[turn_id] = replace(self.turns[turn_id], **values)  # type: ignore[arg-type]
        return self.turns[turn_id]
