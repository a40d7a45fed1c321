"""Every setting of Parley: typed, documented, checked at start; `.env.example` comes from here."""

from __future__ import annotations

import difflib
import ipaddress
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.media.hosts import parse_extra_hosts

PREFIX = "PARLEY_"
DEFAULT_MODEL = "google/gemma-3-4b-it"
DEFAULT_SYSTEM_PROMPT = (
    "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."
)


class SettingsError(Exception):
    """A setting is wrong; the text is one line that names it and the fix."""


class Settings(BaseSettings):
    """Parley's settings, from the environment and `.env` (the environment wins)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True
    )

    # --- platforms: the names that the platforms' own guides use
    discord_token: SecretStr | None = Field(
        None, validation_alias="DISCORD_TOKEN", description="The Discord bot's token."
    )
    discord_api_url: str = Field(
        "https://discord.com/api/v10",
        validation_alias="DISCORD_API_URL",
        description="Discord's API; another address for tests and proxies.",
    )
    discord_gateway_url: str = Field(
        "",
        validation_alias="DISCORD_GATEWAY_URL",
        description="Discord's gateway (wss://...); unset takes what the API answers.",
    )
    discord_shards: int = Field(
        0, ge=0, description="Connections to Discord's gateway; 0 takes what Discord recommends."
    )
    discord_catch_up_minutes: float = Field(
        15,
        ge=0,
        description="After a gap longer than Discord repeats itself, missed mentions so old are "
        "still answered; 0 answers none.",
    )
    slack_bot_token: SecretStr | None = Field(
        None, validation_alias="SLACK_BOT_TOKEN", description="Slack bot token (xoxb-...)."
    )
    slack_app_token: SecretStr | None = Field(
        None,
        validation_alias="SLACK_APP_TOKEN",
        description="Slack app-level token (xapp-...) for Socket Mode.",
    )
    slack_signing_secret: SecretStr | None = Field(
        None,
        validation_alias="SLACK_SIGNING_SECRET",
        description="Slack's signing secret, for HTTP mode (no SLACK_APP_TOKEN): Slack then comes "
        "to /slack/events on PARLEY_HTTP_PORT.",
    )
    slack_client_id: str | None = Field(
        None,
        validation_alias="SLACK_CLIENT_ID",
        description="With SLACK_CLIENT_SECRET and in HTTP mode: other workspaces may install the "
        "app at /slack/install.",
    )
    slack_client_secret: SecretStr | None = Field(
        None, validation_alias="SLACK_CLIENT_SECRET", description="Slack's client secret."
    )
    slack_api_url: str = Field(
        "https://slack.com/api/",
        validation_alias="SLACK_API_URL",
        description="Slack's Web API; another address for tests and proxies.",
    )
    slack_sockets: int = Field(
        2, ge=1, le=10, description="Connections to Slack in Socket Mode; Slack allows ten."
    )
    slack_admins: str = Field(
        "",
        description="Ids of Slack users who may change personas besides workspace admins and "
        "owners: `U0123ABC, U0456DEF`.",
    )
    public_url: str | None = Field(
        None,
        description="The https address at which others reach Parley, for Slack's OAuth redirect.",
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="Encrypts the tokens of Slack installations in the database: a secret of 32 "
        "characters or more. To change it, put the new one and a comma in front of the old one.",
    )

    # --- the model
    model: str | None = Field(
        None,
        description="A Hub id, a local folder, or `demo` (the embedded default). Unset: "
        f"`{DEFAULT_MODEL}` where a platform token is set, else `demo`.",
    )
    hf_token: SecretStr | None = Field(
        None,
        validation_alias="HF_TOKEN",
        description="Hugging Face token; Gemma's weights ask for one whose owner accepted the "
        "terms on the model's page.",
    )
    device: str = Field(
        "auto",
        description="`auto` (CUDA where there is one, else the CPU), "
        "`cpu`, `cuda`, `cuda:1`, or `balanced` to spread over several GPUs.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Type of the weights; `auto`: bfloat16 where the device is quick at it."
    )
    quantize: Literal["auto", "int8", "none"] = Field(
        "auto",
        description="`int8`: weights in 8 bits, quicker on a CPU and smaller everywhere; `auto`: "
        "for the demo on a CPU. On CUDA it needs bitsandbytes or torchao.",
    )
    text_only: bool = Field(
        False, description="Leave out the vision tower of a model that sees, to save memory."
    )
    allow_pretrained: bool = Field(
        False, description="Serve a pre-trained (`-pt`) checkpoint although it can't hold a chat."
    )
    cache_dir: Path = Field(
        Path("~/.cache/parley"), description="Where the prepared demo model is kept (about 0.6 GB)."
    )

    # --- the batcher
    max_context: int = Field(
        8192, ge=512, description="Tokens of one conversation, prompt and reply together."
    )
    max_new_tokens: int = Field(512, ge=1, description="Tokens of one reply at most.")
    max_batch: int = Field(64, ge=1, description="Conversations in one forward pass at most.")
    max_step_tokens: int = Field(
        512,
        ge=16,
        description="Tokens in one forward pass at most; a longer prompt takes several. "
        "While others decode, a step takes fewer, so that it stays short.",
    )
    step_timeout_s: float = Field(
        300,
        ge=0,
        description="Seconds after which a forward pass counts as hung: its replies fail and a new "
        "worker goes on with the others. 0 waits for ever.",
    )
    max_queue: int = Field(
        256, ge=1, description="Requests waiting at most; one more is told that Parley is busy."
    )
    kv_memory_mib: int = Field(
        0, ge=0, description="Memory for keys and values, in MiB; 0 chooses by the device."
    )

    # --- how replies are drawn, where a persona says nothing else
    temperature: float = Field(
        0.7,
        ge=0,
        le=5,
        description="0 takes the likeliest token always; the demo has 0.4 where this is not set.",
    )
    top_k: int = Field(64, ge=0, description="Only the K likeliest tokens; 0 is off.")
    top_p: float = Field(0.95, gt=0, le=1, description="Only the likeliest, up to this share.")
    min_p: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Only those at least this likely, relative to the likeliest; 0 is off.",
    )
    repetition_penalty: float = Field(1.0, gt=0, le=5, description="Above 1 repeats less.")
    system_prompt: str = Field(
        DEFAULT_SYSTEM_PROMPT,
        min_length=1,
        max_length=4000,
        description="The persona where no workspace, channel or thread has its own.",
    )

    # --- pictures and other files
    max_image_mib: float = Field(20, gt=0, description="Size of one attached file, in MiB.")
    max_image_mpixels: float = Field(
        50, gt=0, description="Pixels of one picture, in millions; more are refused undecoded."
    )
    max_images_per_message: int = Field(8, ge=0, description="Files of one message.")
    max_images_per_context: int = Field(
        8, ge=0, description="Pictures the model sees at once; older ones become text markers."
    )
    pan_and_scan: Literal["off", "auto", "on"] = Field(
        "auto",
        description="Show the model crops of a picture too: more detail for more tokens. `auto`: "
        "of elongated and high-resolution pictures (the demo's eyes: of none).",
    )
    max_file_chars: int = Field(
        24_000,
        ge=100,
        description="Characters kept of an attached text file or PDF; longer ones are cut in "
        "their middle.",
    )
    file_timeout_s: float = Field(
        20, gt=0, description="Seconds to fetch one attached file, and again to read it."
    )
    file_processes: int = Field(
        2, ge=1, description="Processes that read attached files, so how many are read at once."
    )
    extra_media_hosts: str = Field(
        "",
        description="Hosts that attachments may be fetched from besides the platforms' own, also "
        "over http and at private addresses: `files.example.com, 10.0.0.5:9000`.",
    )

    # --- when it answers, and what it keeps; admins change it per channel in chat
    reply_mode: Literal["mention", "always", "strict", "never"] = Field(
        "mention",
        description="When a message is answered: `mention` (and in threads that it is in), "
        "`always`, `strict` (only when mentioned), `never`.",
    )
    inline: bool = Field(
        False, description="Answer in the channel itself instead of opening a thread."
    )
    answer_bots: bool = Field(False, description="Answer other bots that mention it.")
    retention_days: int = Field(
        0, ge=0, le=3650, description="Days until what was said is deleted; 0 keeps it."
    )
    max_context_image_mib: float = Field(
        32, gt=0, description="Size of all pictures the model sees at once, in MiB."
    )

    # --- the service
    data_dir: Path = Field(Path("data"), description="Where the database and other state lives.")
    database_url: str = Field(
        "sqlite+aiosqlite:///data/parley.db",
        description="SQLAlchemy URL, sqlite+aiosqlite or postgresql+asyncpg. With "
        "PARLEY_DATA_DIR set and this unset, `parley.db` lies in that folder.",
    )
    http_host: str = Field("127.0.0.1", description="Where the playground and /healthz listen.")
    http_port: int = Field(8080, ge=0, le=65535, description="Their port; 0 takes a free one.")
    http_token: SecretStr | None = Field(
        None,
        description="The playground asks for this token. Needed where PARLEY_HTTP_HOST is not "
        "loopback; at least 16 characters.",
    )
    shutdown_grace_s: float = Field(
        20, ge=0, description="Seconds a running reply may take to end when Parley is stopped."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="What is logged."
    )

    @field_validator("cache_dir", "data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("http_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("is too short to be a secret: give at least 16 characters")
        return value

    @field_validator("discord_api_url", "discord_gateway_url")
    @classmethod
    def _is_url(cls, value: str, info: ValidationInfo) -> str:
        schemes = ("http", "https") if info.field_name == "discord_api_url" else ("ws", "wss")
        scheme, _, rest = value.partition("://")
        if value and (scheme not in schemes or not rest):
            raise ValueError(f"must begin with {schemes[1]}:// (or {schemes[0]}:// in a test)")
        return value.rstrip("/")

    @field_validator("slack_api_url")
    @classmethod
    def _is_api(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise ValueError("must begin with https:// (or http:// in a test)")
        return value if value.endswith("/") else f"{value}/"

    @field_validator("encryption_key")
    @classmethod
    def _strong_enough(cls, value: SecretStr | None) -> SecretStr | None:
        keys = [key.strip() for key in value.get_secret_value().split(",")] if value else []
        if any(len(key) < 32 for key in keys):
            raise ValueError("is too short to be a key: give at least 32 characters")
        return value

    @field_validator("extra_media_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        parse_extra_hosts(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        # The URL may hold a password: the message must not repeat it.
        try:
            driver = make_url(value).drivername
        except ArgumentError:
            raise ValueError("is no database URL: try sqlite+aiosqlite:///data/parley.db") from None
        if driver not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
            raise ValueError(
                f"has the driver {driver!r}: use sqlite+aiosqlite or postgresql+asyncpg"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_new_tokens >= self.max_context:
            raise ValueError(
                f"PARLEY_MAX_NEW_TOKENS is {self.max_new_tokens}, must be below "
                f"PARLEY_MAX_CONTEXT ({self.max_context})"
            )
        if not self.is_loopback and self.http_token is None:
            raise ValueError(
                f"PARLEY_HTTP_HOST is {self.http_host}, which others can reach: set "
                "PARLEY_HTTP_TOKEN to a secret of 16 characters or more, or use 127.0.0.1"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the web page."""
        if self.http_host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.http_host).is_loopback
        except ValueError:
            return False

    @property
    def has_slack(self) -> bool:
        """Whether Slack is to be served: by its own token, or by installations."""
        return bool(self.slack_bot_token or (self.slack_client_id and self.slack_client_secret))

    @property
    def has_platform(self) -> bool:
        """Whether `parley run` has a platform to serve."""
        return self.discord_token is not None or self.has_slack

    @property
    def model_name(self) -> str:
        """The model to load, with the default filled in."""
        if self.model:
            return self.model
        return DEFAULT_MODEL if self.has_platform else "demo"

    @property
    def effective_database_url(self) -> str:
        """The database, in `data_dir` unless it was named."""
        if "database_url" in self.model_fields_set:
            return self.database_url
        return f"sqlite+aiosqlite:///{self.data_dir / 'parley.db'}"


def env_name(name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; `overrides` (by field name) come from the command line and win.

    Raises:
        SettingsError: one line that names the setting, what is wrong and what to do.
    """
    _refuse_unknown_names()
    given = {
        env_name(name, Settings.model_fields[name]) if _has_alias(name) else name: value
        for name, value in (overrides or {}).items()
        if value is not None
    }
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


def _has_alias(name: str) -> bool:
    return Settings.model_fields[name].validation_alias is not None


def _refuse_unknown_names() -> None:
    """A misspelt setting would silently do nothing: name it instead."""
    known = {env_name(name, field) for name, field in Settings.model_fields.items()}
    in_file = dotenv_values(".env") if Path(".env").is_file() else {}
    for name in (*os.environ, *in_file):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f": did you mean {close[0]}?" if close else ": see .env.example"
            raise SettingsError(f"{name} is no setting of Parley{hint}")


def _one_line(error: ValidationError) -> str:
    """The first problem of a validation error, with the variable's name and never a secret."""
    problem = error.errors(include_url=False)[0]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    loc = str(problem["loc"][0])
    field = Settings.model_fields.get(loc)
    name = env_name(loc, field) if field else loc
    secret = field is not None and ("SecretStr" in str(field.annotation) or loc == "database_url")
    if problem["type"] == "value_error" or secret:
        return f"{name} {message}"
    return f"{name} is {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def env_example() -> str:
    """The text of `.env.example`."""
    lines = [
        "# Parley's settings. Copy to `.env` and change what you need; all have defaults.",
        "# This file is made by `python -m bot.config`: change bot/config.py, not this.",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            shown = str(default).lower()
        else:
            shown = "" if default is None else str(default)
        quoted = f'"{shown}"' if " " in shown else shown
        about = textwrap.wrap(str(field.description), 98, break_on_hyphens=False)
        lines += ["", *(f"# {line}" for line in about), f"#{env_name(name, field)}={quoted}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(env_example(), end="")
