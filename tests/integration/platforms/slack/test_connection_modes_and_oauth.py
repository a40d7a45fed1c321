"""Sockets that are renewed and cut, crashes in mid-answer, HTTP mode, OAuth, the doctor."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import text

from bot.config import Settings
from bot.core.service import Service
from bot.platforms.base import PlatformError
from bot.platforms.slack import checks
from bot.platforms.slack.adapter import SlackAdapter
from bot.platforms.slack.options import SlackOptions
from bot.storage.database import Database
from bot.storage.slack import SlackStores, TokenCipher
from tests.servers.slack.delivery import HttpDelivery, sign
from tests.servers.slack.oauth import free_port, install
from tests.servers.slack.people import Person
from tests.servers.slack.rig import QUICK, Rig, slack_rig
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import shown
from tests.servers.waiting import until
from tests.support.core_rig import FakeReader
from tests.support.core_rig import Rig as CoreRig
from tests.support.scripted_engine import prompt_text

KEY = "a secret of more than thirty-two characters"


# --- Socket Mode


async def test_several_sockets_share_the_events() -> None:
    async with slack_rig(sockets=3) as rig:
        await until(lambda: len(rig.slack.sockets.open) == 3)
        rig.engine.auto = "hi"
        roots = [rig.ana.mention(rig.general, f"number {n}") for n in range(6)]
        for root in roots:
            await rig.reply(rig.general, root["ts"], "hi")
        assert len(rig.engine.requests) == 6


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_socket_is_renewed_when_slack_asks(rig: Rig, reason: str) -> None:
    await rig.slack.sockets.refresh(reason)
    await until(lambda: rig.slack.sockets.connections == 2)
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")


async def test_a_cut_socket_in_mid_answer_harms_nothing(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("One, ")
    await until(lambda: rig.bots(rig.general))
    rig.slack.sockets.drop()
    request.write("two.")
    request.finish()
    await rig.reply(rig.general, question["ts"], "One, two.")
    more = rig.ana.say(rig.general, "and?", thread=question["ts"])
    await rig.exchange(rig.general, more, "three")
    assert rig.slack.sockets.connections >= 2


async def test_a_crash_in_mid_answer_is_answered_in_the_same_message(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    request = await rig.asked(0)
    request.write("I was just say")
    await until(lambda: rig.bots(rig.general))
    await until(lambda: any(t.posted for t in rig.store.turns.values()))
    await rig.crash()
    again = await rig.asked(1)
    again.write("The whole answer.")
    again.finish()
    reply = await rig.reply(rig.general, question["ts"], "The whole answer.")
    assert shown(reply) == "The whole answer."
    assert len(rig.bots(rig.general)) == 1


async def test_refused_tokens_are_one_line_with_the_fix() -> None:
    async with SlackServer() as slack:
        team = slack.add_team()
        for changes, words in (
            ({"bot_token": "xoxb-wrong"}, r"SLACK_BOT_TOKEN.*invalid_auth"),
            ({"app_token": "xapp-wrong"}, r"SLACK_APP_TOKEN.*invalid_auth"),
            ({"app_token": None}, "SLACK_SIGNING_SECRET"),
            ({"bot_token": None}, "SLACK_BOT_TOKEN is not set"),
        ):
            options = SlackOptions(
                **{
                    "api_url": slack.api_url,
                    "bot_token": team.bot_token,
                    "app_token": slack.app_token,
                    **changes,
                }
            )
            core = CoreRig()
            adapter = SlackAdapter(core.service.handle, core.queries, options)
            with pytest.raises(PlatformError, match=words) as failure:
                await adapter.start()
            assert "xoxb-wrong" not in str(failure.value)
            await adapter.close()


async def test_secrets_are_in_no_repr() -> None:
    async with slack_rig() as rig:
        assert rig.adapter._teams is not None
        team = await rig.adapter._teams.get(rig.team.id)
        for shown_object in (rig.options, team, team.api, rig.adapter):
            assert "secret" not in repr(shown_object)


# --- HTTP mode


@asynccontextmanager
async def over_http(rig: Rig, **changes: Any) -> AsyncIterator[str]:
    """The rig's Parley over HTTP; yields its address."""
    await rig.stop()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = SlackOptions(
        **{
            "public_url": address,
            "api_url": rig.slack.api_url,
            "bot_token": rig.team.bot_token,
            "signing_secret": rig.slack.signing_secret,
            "timing": QUICK,
            **changes.pop("options", {}),
        }
    )
    rig.service = Service(rig.store, rig.engine, FakeReader())
    rig.adapter = SlackAdapter(rig.service.handle, rig.queries, options, **changes)
    routes = web.Application()
    rig.adapter.add_routes(routes)
    runner = web.AppRunner(routes, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await rig.adapter.start()
    await rig.service.start()
    rig.service.register("slack", rig.adapter)
    rig.slack.over_http(f"{address}/slack/events")
    try:
        yield address
    finally:
        await rig.slack.delivery.close()
        await runner.cleanup()


async def test_http_mode_serves_events_commands_and_modals(rig: Rig) -> None:
    async with over_http(rig):
        delivery = rig.slack.delivery
        assert isinstance(delivery, HttpDelivery)
        assert await delivery.verify() == json.dumps({"challenge": "prove it"})
        question = rig.ana.mention(rig.general, "hello")
        reply = await rig.exchange(rig.general, question, "hi")
        assert "/parley persona set" in await rig.ana.told(rig.ana.slash(rig.general, "help"))
        rig.root.slash(rig.general, "persona set")
        sent = rig.root.submit(await rig.root.view(), {"text": "x", "top_p": "7"})
        await sent.acked.wait()
        assert sent.answer is not None
        assert "top_p" in sent.answer["errors"]
        rig.ana.click(rig.general, reply, "parley_regenerate")
        await rig.exchange(rig.general, question, "hi again")
        await delivery.settled()
        assert set(delivery.statuses) == {200}


async def test_http_requests_are_verified(rig: Rig) -> None:
    async with over_http(rig) as address, aiohttp.ClientSession() as session:
        question = {"type": "message", "ts": "1.1", "user": rig.ana.id, "text": "<@x> hi"}
        event = {**question, "channel": rig.general.id, "channel_type": "channel"}
        body = json.dumps(rig.slack.delivery.envelope(rig.team, event))
        now, old = str(int(time.time())), str(int(time.time()) - 600)
        secret = rig.slack.signing_secret
        for stamp, signature in (
            (now, sign("another secret", now, body)),
            (old, sign(secret, old, body)),
            (now, ""),
        ):
            headers = {
                "X-Slack-Request-Timestamp": stamp,
                "X-Slack-Signature": signature,
                "Content-Type": "application/json",
            }
            url = f"{address}/slack/events"
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 401
        assert not rig.engine.requests


async def test_what_http_could_not_deliver_is_repeated_and_answered_once(rig: Rig) -> None:
    async with over_http(rig):
        delivery = rig.slack.delivery
        assert isinstance(delivery, HttpDelivery)
        delivery.retry_after_s = (0.2, 0.2, 0.2)
        assert rig.adapter._teams is not None
        rig.adapter._teams.forget(rig.team.id)  # so that the next event has to ask Slack
        rig.slack.fail("auth.test", "internal_error", times=2)
        delivery.echoes = 2
        question = rig.ana.mention(rig.general, "hello")
        await rig.exchange(rig.general, question, "hi")
        await delivery.settled()
        assert 200 in delivery.statuses
        assert any(status != 200 for status in delivery.statuses)
        assert len(rig.engine.requests) == 1


# --- OAuth


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite+aiosqlite:///{tmp_path / 'parley.db'}")
    await made.upgrade()
    yield made
    await made.close()


async def test_two_workspaces_install_and_their_data_never_mix(
    rig: Rig, database: Database
) -> None:
    stores = SlackStores.open(database, rig.slack.client_id, TokenCipher([KEY]))
    other = rig.slack.add_team("Globex")
    eve = Person(rig.slack, other, "Eve", admin=True)
    there = other.add_channel("general")
    oauth = {
        "bot_token": None,
        "client_id": rig.slack.client_id,
        "client_secret": rig.slack.client_secret,
    }
    async with over_http(
        rig, options=oauth, installations=stores.installations, states=stores.states
    ) as address:
        assert await install(address, rig.team.id, state="forged") == 400
        assert await stores.installations.teams() == []
        assert await install(address, rig.team.id) == 200
        assert await install(address, other.id) == 200
        assert sorted(await stores.installations.teams()) == sorted([rig.team.id, other.id])
        await _tokens_are_encrypted(database, rig)
        await rig.root.told(rig.root.slash(rig.general, "persona set You are Acme's pirate."))
        ours = rig.ana.mention(rig.general, "who are you?")
        await rig.exchange(rig.general, ours, "Acme's")
        theirs = eve.mention(there, "who are you?")
        request = await rig.asked(1)
        assert "pirate" not in prompt_text(request.messages)
        request.write("Globex's")
        request.finish()
        await until(lambda: "Globex's" in "".join(map(shown, there.messages.values())))
        assert "Globex's" not in "".join(map(shown, rig.general.messages.values()))
        assert theirs["ts"] in there.messages
        rig.slack.delivery.event(other, {"type": "app_uninstalled"})
        await rig.slack.delivery.settled()
        assert await stores.installations.teams() == [rig.team.id]
        tokens = {"tokens": {"oauth": [], "bot": [rig.team.bot_user]}, "type": "tokens_revoked"}
        rig.slack.delivery.event(rig.team, tokens)
        await rig.slack.delivery.settled()
        assert await stores.installations.teams() == []


async def _tokens_are_encrypted(database: Database, rig: Rig) -> None:
    async with database.read() as session:
        for table in ("slack_bots", "slack_installations"):
            for (stored,) in await session.execute(text(f"SELECT bot_token FROM {table}")):
                assert stored.startswith("gAAAA")
                assert "xoxb" not in stored


async def test_another_key_reads_no_token(database: Database) -> None:
    from slack_sdk.oauth.installation_store import Installation

    old = SlackStores.open(database, "1.2", TokenCipher([KEY])).installations
    await old.async_save(
        Installation(app_id="A1", team_id="T1", bot_token="xoxb-1", user_id="U1", bot_id="B1")
    )
    find = {"enterprise_id": None, "team_id": "T1"}
    new = SlackStores.open(database, "1.2", TokenCipher(["another" * 8])).installations
    assert await new.async_find_bot(**find) is None
    both = SlackStores.open(database, "1.2", TokenCipher(["another" * 8, KEY])).installations
    bot = await both.async_find_bot(**find)
    assert bot is not None
    assert bot.bot_token == "xoxb-1"


async def test_oauth_without_a_key_is_refused() -> None:
    options = SlackOptions(
        signing_secret="s", client_id="1.2", client_secret="c", api_url="http://127.0.0.1:1/api/"
    )
    core = CoreRig()
    adapter = SlackAdapter(core.service.handle, core.queries, options)
    with pytest.raises(PlatformError, match="PARLEY_ENCRYPTION_KEY"):
        await adapter.start()


# --- the doctor


async def test_the_doctor_names_what_is_wrong(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_API_URL", rig.slack.api_url)
    monkeypatch.setenv("SLACK_BOT_TOKEN", rig.team.bot_token)
    monkeypatch.setenv("SLACK_APP_TOKEN", rig.slack.app_token)
    findings = [finding async for finding in checks.check(Settings())]
    assert [finding.ok for finding in findings] == [True] * 4
    assert "not checked" in str(findings[3])  # what events come: said, not guessed
    assert "slack manifest" in str(findings[3])
    rig.team.scopes -= {"files:read", "users:read"}
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-wrong")
    findings = [finding async for finding in checks.check(Settings())]
    assert [finding.ok for finding in findings] == [True, False, False, True]
    assert "files:read, users:read" in str(findings[1])
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-wrong")
    findings = [finding async for finding in checks.check(Settings())]
    assert "invalid_auth" in str(findings[0])
    assert "wrong" not in str(findings)
