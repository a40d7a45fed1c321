"""The store: the core's port onto the database, one transaction a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete

from bot.core.events import Author, MessageReceived, ThreadKey
from bot.core.records import (
    Accepted,
    NormalisedImage,
    PersonaVersion,
    SamplingOverrides,
    Turn,
    TurnState,
    TurnUsage,
)
from bot.storage import messages, personas, pictures, rows, turns
from bot.storage.database import Database
from bot.storage.models import ClaimRow, utcnow


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
                await turns.add_usage(session, usage, turn_exists=exists)

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

    # Pictures

    async def set_attachment(
        self, attachment_id: int, image: NormalisedImage | None, problem: str | None
    ) -> None:
        """Give an attachment its bytes or the reason why it has none."""
        async with self._database.write() as session:
            await pictures.attach(session, attachment_id, image, problem)

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
            before = await messages.remove(session, key, platform_id)
        if before is not None:
            await self._database.scrub()
        return before

    async def reset(self, key: ThreadKey) -> int:
        """Really delete a conversation's turns, messages and pictures; how many turns."""
        async with self._database.write() as session:
            count = await messages.reset(session, key)
        if count:
            await self._database.scrub()
        return count

    async def forget_claims(self, before: datetime) -> int:
        """Delete claims older than any platform still repeats a delivery for; how many."""
        async with self._database.write() as session:
            gone = await session.scalars(
                delete(ClaimRow).where(ClaimRow.at < before).returning(ClaimRow.message_id),
                execution_options={"synchronize_session": False},
            )
            return len(gone.all())

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
    ) -> PersonaVersion:
        """Set (or with None clear) a scope's persona; earlier versions stay."""
        async with self._database.write() as session:
            return await personas.add(session, scope, text, sampling, by, name)
