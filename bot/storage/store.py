"""The store: the core's port onto the database, one transaction a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from bot.core.events import Author, MessageReceived, PastMessage, ThreadKey
from bot.core.records import (
    Accepted,
    AuditEntry,
    Change,
    ChannelSettings,
    FileContent,
    LibraryPersona,
    PersonaVersion,
    Rating,
    ResetPoint,
    SamplingOverrides,
    Turn,
    TurnState,
    TurnUsage,
    UsageSummary,
    person_hash,
)
from bot.storage import (
    audit,
    conversations,
    earlier,
    forgetting,
    messages,
    persona_library,
    personas,
    pictures,
    reset_points,
    rows,
    settings,
    turns,
)
from bot.storage import usage as usages
from bot.storage.database import Database
from bot.storage.models import utcnow


class SqlStore:
    """`bot.core.ports.Store` on SQLite or PostgreSQL. Does not own the database: its maker
    closes that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Work

    async def accept(self, key: ThreadKey, event: MessageReceived) -> Accepted | None:
        """Claim a message and write it down as work; None if it was claimed before."""
        async with self._database.write() as session:
            return await turns.accept(session, key, event)

    async def claim(self, key: ThreadKey, message_id: str) -> bool:
        """Claim a message that is not stored; False if it was before."""
        async with self._database.write() as session:
            return await turns.claim(session, key, message_id)

    async def add_earlier(
        self, key: ThreadKey, past: Sequence[PastMessage]
    ) -> tuple[tuple[int, ...], ...]:
        """Put what was said before in front of the one turn that waits; attachment ids."""
        async with self._database.write() as session:
            return await earlier.add(session, key, past)

    async def next_turn(self, key: ThreadKey) -> Turn | None:
        """The conversation's oldest accepted turn, answering from now on."""
        async with self._database.write() as session:
            return await turns.next_turn(session, key)

    async def reopen_turn(self, turn_id: int) -> Turn | None:
        """Make a turn answering again, its reply emptied."""
        async with self._database.write() as session:
            return await turns.reopen(session, turn_id)

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
        """End a turn. An empty `posted` leaves what `set_posted` noted."""
        values = {"posted": list(posted)} if posted else {}
        async with self._database.write() as session:
            exists = await turns.change(
                session,
                turn_id,
                state=state,
                reply_text=text,
                reply_token_ids=tuple(token_ids),
                finish_reason=finish_reason,
                ref=ref,
                finished_at=utcnow(),
                **values,
            )
            if usage is not None:
                await usages.add(session, usage, turn_exists=exists)

    async def set_posted(self, turn_id: int, posted: Sequence[str]) -> None:
        """Note where a reply stands on its platform."""
        async with self._database.write() as session:
            await turns.change(session, turn_id, posted=list(posted))

    async def release_turn(self, turn_id: int) -> None:
        """Hand an answering turn back as accepted."""
        async with self._database.write() as session:
            await turns.release(session, turn_id)

    # Reading

    async def turn(self, turn_id: int) -> Turn | None:
        """One turn."""
        async with self._database.read() as session:
            return await turns.find(session, turn_id)

    async def transcript(self, key: ThreadKey, before_turn: int | None = None) -> list[Turn]:
        """The conversation's finished turns that have a reply text, oldest first."""
        async with self._database.read() as session:
            return await turns.transcript(session, key, before_turn)

    async def unfinished(self) -> list[Turn]:
        """Turns still owed, oldest first."""
        async with self._database.read() as session:
            return await turns.unfinished(session)

    async def has_conversation(self, key: ThreadKey) -> bool:
        """Whether the bot is in this thread."""
        async with self._database.read() as session:
            return await rows.find_conversation(session, key) is not None

    async def conversation_of(self, channel: ThreadKey, posted: str) -> ThreadKey | None:
        """The conversation in this channel whose reply stands in this message."""
        async with self._database.read() as session:
            return await turns.conversation_of(session, channel, posted)

    # Pictures

    async def set_attachment(
        self, attachment_id: int, content: FileContent | None, problem: str | None
    ) -> None:
        """Give an attachment its picture or text, or the reason why it has neither."""
        async with self._database.write() as session:
            await pictures.attach(session, attachment_id, content, problem)

    async def image(self, digest: str) -> bytes | None:
        """A stored picture's bytes."""
        async with self._database.read() as session:
            return await pictures.load(session, digest)

    # Changing and deleting

    async def edit_message(self, key: ThreadKey, platform_id: str, text: str) -> Turn | None:
        """Change a stored message; the turn it is in, or None."""
        async with self._database.write() as session:
            return await messages.edit(session, key, platform_id, text)

    async def delete_message(self, key: ThreadKey, platform_id: str) -> Turn | None:
        """Really delete a stored message; the turn as it was before, or None."""
        async with self._database.write() as session:
            turn = await messages.remove(session, key, platform_id)
        if turn is not None:
            await self._database.scrub()
        return turn

    async def reset(self, key: ThreadKey, at: datetime) -> int:
        """Really delete a conversation's turns, messages and pictures; how many turns."""
        async with self._database.write() as session:
            count = await messages.reset(session, key, at)
        if count:
            await self._database.scrub()
        return count

    async def forget(
        self,
        scope: ThreadKey,
        user_id: str | None = None,
        change: Change | None = None,
        *,
        at: datetime,
    ) -> int:
        """Really delete the turns below a scope, or what one person wrote there; how many."""
        async with self._database.write() as session:
            if user_id is None:
                count = await forgetting.below(session, scope)
            else:
                count = await forgetting.person(session, scope, user_id)
            person = "" if user_id is None else person_hash(scope, user_id)
            await reset_points.put(session, ResetPoint(scope, at, person))
            await audit.record(session, scope, change)
        await self._database.scrub()
        return count

    async def reset_points(
        self, key: ThreadKey, message_ids: Sequence[str]
    ) -> Sequence[ResetPoint]:
        """The reset points of a conversation's scopes and of threads opened from messages."""
        async with self._database.read() as session:
            return await reset_points.find(session, key, message_ids)

    async def conversations_before(self, before: datetime) -> list[ThreadKey]:
        """The conversations that have finished turns of before then."""
        async with self._database.read() as session:
            return await forgetting.conversations_before(session, before)

    async def delete_turns(self, key: ThreadKey, before: datetime) -> int:
        """Really delete a conversation's finished turns of before then; how many."""
        async with self._database.write() as session:
            count = await forgetting.turns_before(session, key, before)
        if count:
            await self._database.scrub()
        return count

    async def forget_claims(self, before: datetime) -> int:
        """Delete claims older than any platform still repeats a delivery for; how many."""
        async with self._database.write() as session:
            return await forgetting.claims(session, before)

    async def active_conversations(
        self, platform: str, workspace: str, since: datetime
    ) -> list[tuple[ThreadKey, str]]:
        """The conversations with a message since then, and their last message's platform id."""
        async with self._database.read() as session:
            place = ThreadKey(platform, workspace)
            return await conversations.active_since(session, place, since)

    # Personas

    async def personas(self, scopes: Sequence[ThreadKey]) -> Mapping[ThreadKey, PersonaVersion]:
        """The latest version on each scope that has one."""
        async with self._database.read() as session:
            return await personas.latest(session, scopes)

    async def persona_history(self, scope: ThreadKey) -> list[PersonaVersion]:
        """All versions on a scope, newest first."""
        async with self._database.read() as session:
            return await personas.history(session, scope)

    async def add_persona_version(
        self,
        scope: ThreadKey,
        text: str | None,
        sampling: SamplingOverrides,
        by: Author,
        name: str | None = None,
        change: Change | None = None,
    ) -> PersonaVersion:
        """Set (or with None clear) a scope's persona; earlier versions stay."""
        async with self._database.write() as session:
            await audit.record(session, scope, change)
            return await personas.add(session, scope, text, sampling, by, name)

    async def workspace_personas(self, workspace: ThreadKey) -> list[PersonaVersion]:
        """The latest version on each scope of a workspace that has a persona now."""
        async with self._database.read() as session:
            return await personas.in_workspace(session, workspace)

    async def library(self, workspace: ThreadKey) -> list[LibraryPersona]:
        """A workspace's own personas, by name."""
        async with self._database.read() as session:
            return await persona_library.personas_of(session, workspace)

    async def save_library_persona(
        self, workspace: ThreadKey, persona: LibraryPersona, change: Change
    ) -> None:
        """Add a persona to a workspace's library, or replace the one of this name."""
        async with self._database.write() as session:
            await persona_library.save(session, workspace, persona, change.by.name)
            await audit.record(session, workspace, change)

    async def remove_library_persona(self, workspace: ThreadKey, name: str, change: Change) -> bool:
        """Remove a persona from a workspace's library; False if it has none."""
        async with self._database.write() as session:
            removed = await persona_library.remove(session, workspace, name)
            await audit.record(session, workspace, change if removed else None)
            return removed

    # Settings, audit, feedback, usage

    async def channel_settings(
        self, scopes: Sequence[ThreadKey]
    ) -> Mapping[ThreadKey, ChannelSettings]:
        """What is set on each of the scopes that has something set."""
        async with self._database.read() as session:
            return await settings.at_scopes(session, scopes)

    async def set_channel_settings(
        self, scope: ThreadKey, changed: ChannelSettings, change: Change
    ) -> None:
        """Replace a scope's settings."""
        async with self._database.write() as session:
            await settings.put(session, scope, changed)
            await audit.record(session, scope, change)

    async def workspace_settings(self, workspace: ThreadKey) -> Mapping[ThreadKey, ChannelSettings]:
        """What is set anywhere in a workspace."""
        async with self._database.read() as session:
            return await settings.in_workspace(session, workspace)

    async def shortest_retention(self) -> int | None:
        """The smallest retention that is set anywhere, in days, 0 aside."""
        async with self._database.read() as session:
            return await settings.shortest_retention(session)

    async def audit(self, workspace: ThreadKey, limit: int) -> list[AuditEntry]:
        """The last changes in a workspace, newest first."""
        async with self._database.read() as session:
            return await audit.latest(session, workspace, limit)

    async def rate(self, turn_id: int, user_id: str, rating: Rating) -> bool:
        """Store somebody's feedback on a reply; False if it is gone."""
        async with self._database.write() as session:
            return await usages.rate(session, turn_id, user_id, rating)

    async def usage(
        self, workspace: ThreadKey, days: int, user_id: str | None = None
    ) -> UsageSummary:
        """What the replies of the last days took, everybody's or one person's."""
        async with self._database.read() as session:
            return await usages.summary(session, workspace, days, user_id)
