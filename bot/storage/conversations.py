"""Lists a workspace's conversations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.events import ThreadKey
from bot.storage import rows
from bot.storage.models import ChannelRow, ConversationRow, MessageRow, TurnRow


async def active_since(
    session: AsyncSession, platform: str, workspace: str, since: datetime
) -> list[tuple[ThreadKey, str]]:
    """Conversations with a message since then, each with the platform's id of its latest one."""
    newest = (
        select(func.max(MessageRow.id))
        .join(TurnRow, MessageRow.turn_id == TurnRow.id)
        .where(MessageRow.at >= since)
        .group_by(TurnRow.conversation_id)
    )
    latest = await session.execute(
        select(ChannelRow.external_id, ConversationRow.thread, MessageRow.platform_id)
        .join(ChannelRow.workspace)
        .join(ConversationRow, ConversationRow.channel_id == ChannelRow.id)
        .join(TurnRow, TurnRow.conversation_id == ConversationRow.id)
        .join(MessageRow, MessageRow.turn_id == TurnRow.id)
        .where(*rows.in_workspace(ThreadKey(platform, workspace)), MessageRow.id.in_(newest))
        .order_by(MessageRow.id)
    )
    return [
        (ThreadKey(platform, workspace, channel, thread), message_id)
        for channel, thread, message_id in latest
    ]
