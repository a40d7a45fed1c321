"""Slack's installations: slack_sdk's stores, with encrypted tokens."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from slack_sdk.oauth.installation_store import Bot, Installation
from slack_sdk.oauth.installation_store.sqlalchemy import (
    AsyncSQLAlchemyInstallationStore,
    SQLAlchemyInstallationStore,
)
from slack_sdk.oauth.state_store.sqlalchemy import AsyncSQLAlchemyOAuthStateStore
from sqlalchemy import MetaData, Table, Text, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.storage.database import Database
from bot.storage.models import Base

logger = logging.getLogger(__name__)

SETTING = "PARLEY_ENCRYPTION_KEY"
KEY_AT_LEAST = 32
STATE_LIVES_S = 600
_SALT = b"parley slack tokens v1"
_TOKENS = (
    "bot_token",
    "bot_refresh_token",
    "user_token",
    "user_refresh_token",
    "incoming_webhook_url",
)


class TokenCipher:
    """Encrypts tokens. `keys`: secrets of 32 characters or more; the first one encrypts, the
    others still decrypt, so that a key can be changed. Its repr shows none of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or any(len(key) < KEY_AT_LEAST for key in keys):
            raise ValueError(f"{SETTING}: give a secret of {KEY_AT_LEAST} characters or more")
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def encrypt(self, token: str) -> str:
        return self._fernet.encrypt(token.encode()).decode()

    def decrypt(self, stored: str) -> str | None:
        """The token; None where it was encrypted by a key that is not among ours."""
        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except InvalidToken:
            logger.error(
                "a Slack installation's token was encrypted with another %s: add the old key after "
                "a comma, or install the app again",
                SETTING,
            )
            return None


@dataclass(frozen=True, slots=True)
class SlackStores:
    """What OAuth needs to remember."""

    installations: EncryptedInstallationStore
    states: AsyncSQLAlchemyOAuthStateStore

    @classmethod
    def open(cls, database: Database, client_id: str, cipher: TokenCipher) -> SlackStores:
        """The stores on an open database."""
        engine = database.write_engine
        return cls(
            EncryptedInstallationStore(client_id, engine, cipher),
            AsyncSQLAlchemyOAuthStateStore(
                STATE_LIVES_S, engine, table_name=STATES.name, logger=logger
            ),
        )


class EncryptedInstallationStore(AsyncSQLAlchemyInstallationStore):
    """slack_sdk's store. Tokens are encrypted on their way in, decrypted on their way out.

    Only workspaces install Parley, never whole organizations: a workspace's id is enough to find
    its installation, whatever organization it is said to belong to.
    """

    table_names: ClassVar[tuple[str, str]] = ("slack_bots", "slack_installations")

    def __init__(self, client_id: str, engine: AsyncEngine, cipher: TokenCipher) -> None:
        super().__init__(client_id, engine, *self.table_names, logger=logger)
        self._cipher = cipher

    @classmethod
    def build_installations_table(cls, metadata: MetaData, table_name: str) -> Table:
        """The SDK's table with room for encrypted tokens."""
        return _widened(super().build_installations_table(metadata, table_name))

    @classmethod
    def build_bots_table(cls, metadata: MetaData, table_name: str) -> Table:
        """The SDK's table with room for encrypted tokens."""
        return _widened(super().build_bots_table(metadata, table_name))

    async def async_save(self, installation: Installation) -> None:
        """Keep an installation, in the place of the workspace's earlier ones."""
        await self._forget(installation.team_id)
        await super().async_save(Installation(**self._encrypted(vars(installation))))

    async def async_save_bot(self, bot: Bot) -> None:
        """Keep a bot's token. (`async_save` hands it over encrypted.)"""
        await super().async_save_bot(bot)

    async def async_find_bot(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        is_enterprise_install: bool | None = False,
    ) -> Bot | None:
        """A workspace's bot; None where it is not installed or its token can't be read."""
        del enterprise_id, is_enterprise_install
        bots = self.bots
        query = (
            bots.select()
            .where(bots.c.client_id == self.client_id, bots.c.team_id == team_id)
            .order_by(bots.c.installed_at.desc(), bots.c.id.desc())
            .limit(1)
        )
        async with self.engine.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None or row["bot_token"] is None:
            return None
        token = self._cipher.decrypt(row["bot_token"])
        if token is None:
            return None
        bot: Bot = SQLAlchemyInstallationStore.build_bot_entity(row)
        bot.bot_token = token
        return bot

    async def async_delete_all(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        """The app was uninstalled: delete everything about the installation."""
        del enterprise_id
        await self._forget(team_id)

    async def teams(self) -> list[str]:
        """The ids of the workspaces that the app is installed in."""
        bots = self.bots
        query = select(bots.c.team_id).where(bots.c.client_id == self.client_id).distinct()
        async with self.engine.connect() as connection:
            return [team for team in (await connection.scalars(query)) if team]

    async def _forget(self, team_id: str | None) -> None:
        async with self.engine.begin() as connection:
            for table in (self.bots, self.installations):
                await connection.execute(
                    delete(table).where(
                        table.c.client_id == self.client_id, table.c.team_id == team_id
                    )
                )

    def _encrypted(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._cipher.encrypt(value) if name in _TOKENS and value else value
            for name, value in fields.items()
            if name != "custom_values"
        }


def _derive(key: str) -> bytes:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=_SALT, info=b"fernet")
    return base64.urlsafe_b64encode(derived.derive(key.encode()))


def _widened(table: Table) -> Table:
    for name in _TOKENS:
        if name in table.c:
            table.c[name].type = Text()
    return table


BOTS = EncryptedInstallationStore.build_bots_table(Base.metadata, "slack_bots")
INSTALLATIONS = EncryptedInstallationStore.build_installations_table(
    Base.metadata, "slack_installations"
)
STATES = AsyncSQLAlchemyOAuthStateStore.build_oauth_states_table(
    Base.metadata, "slack_oauth_states"
)
