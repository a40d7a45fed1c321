"""Whether to answer a message or an edit, and why; what to say if not; which conversation it
belongs to. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bot.core import texts
from bot.core.commands.parsing import is_command
from bot.core.events import MessageEdited, MessageReceived, ThreadKey
from bot.core.limits import EDIT_WINDOW
from bot.core.records import Mode as Mode


class Reason(StrEnum):
    """Why a message is answered, or why not."""

    DM = "dm"
    MENTION = "mention"
    REPLY = "reply"
    IN_THREAD = "in_thread"
    ALWAYS = "always"
    OWN = "own"
    BOT = "bot"
    OFF = "off"
    COMMAND = "command"  # a command to run, not a question
    EMPTY = "empty"
    EVERYONE = "everyone"
    OTHER = "other"
    STRICT = "strict"
    NOT_ADDRESSED = "not_addressed"


@dataclass(frozen=True, slots=True)
class GateFacts:
    """What the gate needs to know besides the message itself."""

    bot_in_thread: bool = False
    mode: Mode = Mode.MENTION
    answer_bots: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to answer; the reason is for the log."""

    answer: bool
    reason: Reason


def decide(event: MessageReceived, facts: GateFacts) -> Decision:
    """Apply the first rule that matches; the default is silence."""
    silent = _forbidden(event, facts)
    if silent is not None:
        return Decision(False, silent)
    answer, reason = _addressed(event, facts)
    if answer and is_command(event.text):
        return Decision(False, Reason.COMMAND)
    return Decision(answer, reason)


def _forbidden(event: MessageReceived, facts: GateFacts) -> Reason | None:
    if event.author.is_self:
        return Reason.OWN
    if event.author.is_bot and not facts.answer_bots:
        return Reason.BOT
    if facts.mode is Mode.NEVER:
        return Reason.OFF
    return None


def _addressed(event: MessageReceived, facts: GateFacts) -> tuple[bool, Reason]:
    if event.mentions_bot or event.mentions_bot_role:
        return True, Reason.MENTION  # also a bare mention
    if not event.text.strip() and not event.attachments:
        return False, Reason.EMPTY
    if event.author.is_bot:
        # Two bots that follow each other's threads would never stop, so a bot must mention us.
        return False, Reason.BOT
    if event.is_dm:
        return True, Reason.DM
    if event.mentions_everyone:
        return False, Reason.EVERYONE
    if event.addresses_other:
        return False, Reason.OTHER
    if facts.mode is Mode.STRICT:
        return False, Reason.STRICT
    if event.replies_to_bot:
        return True, Reason.REPLY
    if event.key.thread and facts.bot_in_thread:
        return True, Reason.IN_THREAD
    if facts.mode is Mode.ALWAYS:
        return True, Reason.ALWAYS
    return False, Reason.NOT_ADDRESSED


def edit_asks(event: MessageEdited) -> bool:
    """Whether an edit makes its message a question: it mentions the bot within EDIT_WINDOW.

    The store knows whether the message was a question before: it is claimed only once.
    """
    message = event.as_new
    if message is None or not (message.mentions_bot or message.mentions_bot_role):
        return False
    return event.at - message.at <= EDIT_WINDOW


def refusal(event: MessageReceived, reason: Reason) -> str | None:
    """The sentence for a private question that isn't answered: in a DM, or asked through a
    command or a form, where silence would look like a fault. None: stay silent."""
    is_private = event.is_dm or event.asked_in is not None
    if not is_private or event.author.is_self or event.author.is_bot:
        return None
    if reason is Reason.OFF:
        return texts.SWITCHED_OFF
    if reason is Reason.EMPTY:
        return texts.NOTHING_TO_READ
    return texts.CANT_ANSWER_HERE


def reply_key(event: MessageReceived, inline: bool) -> ThreadKey:
    """The conversation that this message belongs to.

    A message in the channel itself opens a thread of its own id, unless replies are `inline` or
    the platform has no threads. DMs and messages in threads stay where they are.
    """
    if event.key.thread or event.is_dm or inline or not event.has_threads:
        return event.key
    return event.key.in_thread(event.id)
