"""`bot.core.ports.Store` in memory, for tests of the core alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from bot.core.events import Author, MessageReceived, PastMessage, ThreadKey
from bot.core.records import (
    Accepted,
    AuditEntry,
    Change,
    ChannelSettings,
    FileContent,
    FileText,
    LibraryPersona,
    NormalizedImage,
    PersonaVersion,
    Rating,
    ResetPoint,
    SamplingOverrides,
    StoredAttachment,
    Turn,
    TurnState,
    TurnUsage,
    UsageSummary,
    UserMessage,
    person_hash,
)

_FINISHED = (TurnState.DELIVERED, TurnState.FAILED, TurnState.CANCELLED)


@dataclass
class MemoryStore:
    """Keeps everything in dictionaries; `failing` names methods that raise."""

    turns: dict[int, Turn] = field(default_factory=dict)
    spent: list[TurnUsage] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    ratings: dict[tuple[int, str], Rating] = field(default_factory=dict)
    entries: list[AuditEntry] = field(default_factory=list)
    settings: dict[ThreadKey, ChannelSettings] = field(default_factory=dict)
    _library: dict[tuple[ThreadKey, str], LibraryPersona] = field(default_factory=dict)
    _claimed_at: dict[tuple[str, str, str, str], datetime] = field(default_factory=dict)
    _images: dict[str, bytes] = field(default_factory=dict)
    _claims: set[tuple[str, str, str, str]] = field(default_factory=set)
    _conversations: dict[ThreadKey, int] = field(default_factory=dict)
    _versions: list[PersonaVersion] = field(default_factory=list)
    _points: dict[tuple[ThreadKey, str], ResetPoint] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def _check(self, method: str) -> None:
        if method in self.failing:
            raise ConnectionError(f"the database failed in {method}")

    async def accept(self, key: ThreadKey, event: MessageReceived) -> Accepted | None:
        self._check("accept")
        if not await self.claim(key, event.id):
            return None
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

    async def claim(self, key: ThreadKey, message_id: str) -> bool:
        claim = (key.platform, key.workspace, key.channel, message_id)
        if claim in self._claims:
            return False
        self._claims.add(claim)
        self._claimed_at[claim] = datetime.now(UTC)
        return True

    async def add_earlier(
        self, key: ThreadKey, past: Sequence[PastMessage]
    ) -> tuple[tuple[int, ...], ...]:
        self._check("add_earlier")
        there = self._of(key)
        if len(there) != 1 or there[0].state is not TurnState.ACCEPTED:
            return ()
        ids: list[tuple[int, ...]] = []
        turns: list[Turn] = []
        for message in past:
            files = tuple(StoredAttachment(next(self._ids), a.name) for a in message.attachments)
            ids.append(() if message.author.is_self else tuple(f.id for f in files))
            if not turns or (turns[-1].posted and not message.author.is_self):
                turns.append(
                    Turn(next(self._ids), there[0].conversation_id, key, TurnState.DELIVERED, ())
                )
            last = turns[-1]
            if message.author.is_self:
                text = "\n\n".join(filter(None, (last.reply_text, message.text)))
                turns[-1] = replace(last, reply_text=text, posted=(*last.posted, message.id))
            else:
                stored = UserMessage(
                    next(self._ids),
                    message.id,
                    message.author.id,
                    message.author.name,
                    message.text,
                    files,
                    message.at,
                )
                turns[-1] = replace(last, messages=(*last.messages, stored))
        del self.turns[there[0].id]
        for turn in (*turns, replace(there[0], id=next(self._ids))):
            self.turns[turn.id] = turn
        return tuple(ids)

    async def set_attachment(
        self, attachment_id: int, content: FileContent | None, problem: str | None
    ) -> None:
        self._check("set_attachment")
        if isinstance(content, NormalizedImage):
            self._images[content.digest] = content.data
        values: dict[str, Any] = {
            "digest": content.digest if isinstance(content, NormalizedImage) else None,
            "text": content.text if isinstance(content, FileText) else None,
            "note": content.note if content is not None else "",
            "problem": problem,
        }
        for turn in self.turns.values():
            messages = tuple(
                replace(
                    message,
                    attachments=tuple(
                        replace(a, **values) if a.id == attachment_id else a
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
            self.spent.append(usage)
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
            and (
                turn.reply_text
                or (turn.state is TurnState.DELIVERED and turn.finish_reason is None)
            )
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

    async def conversation_of(self, channel: ThreadKey, posted: str) -> ThreadKey | None:
        for turn in reversed(self.turns.values()):
            if turn.key.channel_key == channel.channel_key and posted in turn.posted:
                return turn.key
        return None

    async def reset(self, key: ThreadKey, at: datetime) -> int:
        if key in self._conversations:
            self._put_point(ResetPoint(key, at))
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
        change: Change | None = None,
    ) -> PersonaVersion:
        self._record(scope, change)
        version = PersonaVersion(
            next(self._ids), scope, text, sampling, name, by.id, by.name, datetime.now(UTC)
        )
        self._versions.append(version)
        return version

    async def workspace_personas(self, workspace: ThreadKey) -> list[PersonaVersion]:
        latest = {v.scope: v for v in self._versions if workspace in v.scope.scopes()}
        return [latest[scope] for scope in sorted(latest) if latest[scope].text is not None]

    async def library(self, workspace: ThreadKey) -> list[LibraryPersona]:
        return [self._library[key] for key in sorted(self._library) if key[0] == workspace]

    async def save_library_persona(
        self, workspace: ThreadKey, persona: LibraryPersona, change: Change
    ) -> None:
        self._library[workspace, persona.name.casefold()] = persona
        self._record(workspace, change)

    async def remove_library_persona(self, workspace: ThreadKey, name: str, change: Change) -> bool:
        if self._library.pop((workspace, name.casefold()), None) is None:
            return False
        self._record(workspace, change)
        return True

    async def channel_settings(
        self, scopes: Sequence[ThreadKey]
    ) -> Mapping[ThreadKey, ChannelSettings]:
        self._check("channel_settings")
        return {scope: self.settings[scope] for scope in scopes if scope in self.settings}

    async def set_channel_settings(
        self, scope: ThreadKey, changed: ChannelSettings, change: Change
    ) -> None:
        self.settings[scope] = changed
        self._record(scope, change)

    async def workspace_settings(self, workspace: ThreadKey) -> Mapping[ThreadKey, ChannelSettings]:
        return {scope: s for scope, s in self.settings.items() if workspace in scope.scopes()}

    async def audit(self, workspace: ThreadKey, limit: int) -> list[AuditEntry]:
        mine = [entry for entry in self.entries if workspace in entry.scope.scopes()]
        return mine[::-1][:limit]

    async def rate(self, turn_id: int, user_id: str, rating: Rating) -> bool:
        if turn_id not in self.turns:
            return False
        self.ratings[turn_id, user_id] = rating
        return True

    async def usage(
        self, workspace: ThreadKey, days: int, user_id: str | None = None
    ) -> UsageSummary:
        spent = [
            use
            for use in self.spent
            if (use.platform, use.workspace) == (workspace.platform, workspace.workspace)
            and user_id in (None, use.user_id)
        ]
        users: dict[str, tuple[int, int]] = {}
        for use in spent:
            count, tokens = users.get(use.user_id, (0, 0))
            users[use.user_id] = (count + 1, tokens + use.prompt_tokens + use.generated_tokens)
        return UsageSummary(
            days, len(spent), sum(use.prompt_tokens for use in spent),
            sum(use.cached_tokens for use in spent), sum(use.generated_tokens for use in spent),
            [(user, *numbers) for user, numbers in users.items()],
        )  # fmt: skip

    async def forget(
        self,
        scope: ThreadKey,
        user_id: str | None = None,
        change: Change | None = None,
        *,
        at: datetime,
    ) -> int:
        self._record(scope, change)
        person = "" if user_id is None else person_hash(scope, user_id)
        self._put_point(ResetPoint(scope, at, person))
        count = 0
        for turn in [turn for turn in self.turns.values() if scope in turn.key.scopes()]:
            left = tuple(m for m in turn.messages if user_id not in (None, m.author_id))
            if len(left) == len(turn.messages):
                continue
            count += 1
            if left:
                self._change(turn.id, messages=left, reply_text="", reply_token_ids=())
            else:
                del self.turns[turn.id]
        return count

    async def reset_points(
        self, key: ThreadKey, message_ids: Sequence[str]
    ) -> Sequence[ResetPoint]:
        scopes = {*key.scopes(), *(key.in_thread(message_id) for message_id in message_ids)}
        return [point for point in self._points.values() if point.scope in scopes]

    def _put_point(self, point: ResetPoint) -> None:
        old = self._points.get((point.scope, point.person), point)
        self._points[point.scope, point.person] = max(old, point, key=lambda each: each.at)

    async def shortest_retention(self) -> int | None:
        return min(
            (s.retention_days for s in self.settings.values() if s.retention_days), default=None
        )

    async def conversations_before(self, before: datetime) -> list[ThreadKey]:
        return list({turn.key: None for turn in self._old(before)})

    async def delete_turns(self, key: ThreadKey, before: datetime) -> int:
        old = [turn for turn in self._old(before) if turn.key == key]
        for turn in old:
            del self.turns[turn.id]
        return len(old)

    async def forget_claims(self, before: datetime) -> int:
        old = [claim for claim, at in self._claimed_at.items() if at < before]
        for claim in old:
            self._claims.discard(claim)
            del self._claimed_at[claim]
        return len(old)

    async def active_conversations(
        self, platform: str, workspace: str, since: datetime
    ) -> list[tuple[ThreadKey, str]]:
        found: dict[ThreadKey, str] = {}
        for turn in self.turns.values():
            for message in turn.messages:
                here = (turn.key.platform, turn.key.workspace) == (platform, workspace)
                if here and message.at >= since:
                    found[turn.key] = message.platform_id
        return list(found.items())

    def _record(self, scope: ThreadKey, change: Change | None) -> None:
        if change is not None:
            self.entries.append(
                AuditEntry(
                    next(self._ids),
                    datetime.now(UTC),
                    scope,
                    change.by.id,
                    change.by.name,
                    change.action,
                    change.before,
                    change.after,
                )
            )

    def _old(self, before: datetime) -> list[Turn]:
        """Finished turns whose first message is of before then."""
        return [
            turn
            for turn in self.turns.values()
            if turn.state in _FINISHED and turn.messages and turn.messages[0].at < before
        ]

    def _of(self, key: ThreadKey) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.key == key]

    def _with_message(self, key: ThreadKey, platform_id: str) -> Turn | None:
        for turn in self.turns.values():
            here = turn.key.channel_key == key.channel_key
            if here and any(m.platform_id == platform_id for m in turn.messages):
                return turn
        return None

    def _change(self, turn_id: int, **values: object) -> Turn:
        self.turns[turn_id] = replace(self.turns[turn_id], **values)  # type: ignore[arg-type]
        return self.turns[turn_id]
