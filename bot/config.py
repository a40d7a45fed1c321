"""All settings: typed, documented and validated. `.env.example` is generated from here."""

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

from bot.core.limits import MAX_DAYS, MAX_PERSONA_LENGTH, SAMPLING_RANGES
from bot.media.hosts import parse_extra_hosts

PREFIX = "PARLEY_"
#: What to set where no platform is configured.
PLATFORM_TOKENS = "DISCORD_TOKEN or SLACK_BOT_TOKEN"
DEFAULT_MODEL = "google/gemma-3-4b-it"
DEFAULT_SYSTEM_PROMPT = (
    "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."
)


class SettingsError(Exception):
    """A setting is wrong. The text is one line that names the setting and the fix."""


def _within(sampling: str) -> dict[str, Any]:
    """The bounds of a sampling setting, as Pydantic's Field takes them."""
    allowed = SAMPLING_RANGES[sampling]
    low = "gt" if allowed.excludes_low else "ge"
    high = "lt" if allowed.excludes_high else "le"
    return {low: allowed.low, high: allowed.high}


class Settings(BaseSettings):
    """Settings from the environment and `.env`. The environment takes precedence."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True
    )

    # --- platforms, under the names that the platforms' own guides use
    discord_token: SecretStr | None = Field(
        None, validation_alias="DISCORD_TOKEN", description="The Discord bot's token."
    )
    discord_api_url: str = Field(
        "https://discord.com/api/v10",
        validation_alias="DISCORD_API_URL",
        description="Discord API base URL. Change it only for a proxy or a test server.",
    )
    discord_gateway_url: str = Field(
        "",
        validation_alias="DISCORD_GATEWAY_URL",
        description="Discord gateway URL (wss://...). Unset: the one that the API returns.",
    )
    discord_shards: int = Field(
        0, ge=0, description="Number of Discord gateway shards. 0: as many as Discord recommends."
    )
    discord_catch_up_minutes: float = Field(
        15,
        ge=0,
        description="After an outage that Discord can't replay, answer missed mentions up to this "
        "many minutes old. 0: answer none.",
    )
    slack_bot_token: SecretStr | None = Field(
        None, validation_alias="SLACK_BOT_TOKEN", description="The Slack bot token (xoxb-...)."
    )
    slack_app_token: SecretStr | None = Field(
        None,
        validation_alias="SLACK_APP_TOKEN",
        description="The Slack app-level token (xapp-...), for Socket Mode.",
    )
    slack_signing_secret: SecretStr | None = Field(
        None,
        validation_alias="SLACK_SIGNING_SECRET",
        description="The Slack signing secret, for HTTP mode (without SLACK_APP_TOKEN). Slack then "
        "sends events to /slack/events on PARLEY_HTTP_PORT.",
    )
    slack_client_id: str | None = Field(
        None,
        validation_alias="SLACK_CLIENT_ID",
        description="The Slack client id. With SLACK_CLIENT_SECRET, in HTTP mode, other workspaces "
        "can install the app at /slack/install.",
    )
    slack_client_secret: SecretStr | None = Field(
        None, validation_alias="SLACK_CLIENT_SECRET", description="The Slack client secret."
    )
    slack_api_url: str = Field(
        "https://slack.com/api/",
        validation_alias="SLACK_API_URL",
        description="Slack Web API base URL. Change it only for a proxy or a test server.",
    )
    slack_sockets: int = Field(
        2, ge=1, le=10, description="Number of Socket Mode connections. Slack allows up to ten."
    )
    slack_admins: str = Field(
        "",
        description="Ids of Slack users who may change personas, in addition to workspace admins "
        "and owners. Example: `U0123ABC, U0456DEF`.",
    )
    public_url: str | None = Field(
        None,
        description="Public https URL of Parley, for Slack's OAuth redirect.",
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="Key that encrypts the tokens of Slack installations in the database: a secret "
        "of at least 32 characters. To rotate it, put the new key and a comma before the old one.",
    )

    # --- the model
    model: str | None = Field(
        None,
        description="A Hugging Face id, a local folder, or `demo` (the embedded model). Unset: "
        f"`{DEFAULT_MODEL}` if a platform token is set, otherwise `demo`.",
    )
    hf_token: SecretStr | None = Field(
        None,
        validation_alias="HF_TOKEN",
        description="Hugging Face token. Gemma's weights require one from an account that has "
        "accepted the terms on the model's page.",
    )
    device: str = Field(
        "auto",
        description="`auto` (CUDA if available, otherwise the CPU), `cpu`, `cuda`, `cuda:1`, or "
        "`balanced` to spread the model over several GPUs.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Data type of the weights. `auto`: bfloat16 if the device is fast at it.",
    )
    quantize: Literal["auto", "int8", "none"] = Field(
        "auto",
        description="`int8`: 8-bit weights, faster on a CPU and smaller everywhere; needs "
        "bitsandbytes or torchao on CUDA. `auto`: int8 for the demo on a CPU, otherwise none.",
    )
    text_only: bool = Field(
        False, description="Load a vision model without its vision tower, to save memory."
    )
    allow_pretrained: bool = Field(
        False, description="Allow a pretrained (`-pt`) checkpoint, which isn't tuned for chat."
    )
    cache_dir: Path = Field(
        Path("~/.cache/parley"), description="Folder for the prepared demo model (about 0.6 GB)."
    )

    # --- the batcher
    max_context: int = Field(
        8192, ge=512, description="Maximum tokens per conversation, prompt and reply together."
    )
    max_new_tokens: int = Field(
        512, **_within("max_new_tokens"), description="Maximum tokens per reply."
    )
    max_batch: int = Field(64, ge=1, description="Maximum conversations per forward pass.")
    max_step_tokens: int = Field(
        512,
        ge=16,
        description="Maximum tokens per forward pass. A longer prompt takes several passes, and "
        "smaller ones while other conversations are decoding, so that their tokens keep coming.",
    )
    step_timeout_s: float = Field(
        300,
        ge=0,
        description="Seconds until a forward pass counts as hung. Its replies then fail and a new "
        "worker serves the rest. 0: wait forever.",
    )
    max_queue: int = Field(
        256,
        ge=1,
        description="Maximum waiting requests. Others are told that Parley is busy.",
    )
    kv_memory_mib: int = Field(
        0, ge=0, description="Memory for the KV cache, in MiB. 0: choose by device."
    )

    # --- sampling, unless a persona overrides it
    temperature: float = Field(
        0.7,
        **_within("temperature"),
        description="Sampling temperature. 0: always take the most likely token. The demo's own "
        "default is 0.4.",
    )
    top_k: int = Field(
        64, **_within("top_k"), description="Sample from the K most likely tokens. 0: off."
    )
    top_p: float = Field(
        0.95,
        **_within("top_p"),
        description="Sample from the most likely tokens whose probabilities add up to this. "
        "1: off.",
    )
    min_p: float = Field(
        0.0,
        **_within("min_p"),
        description="Sample from tokens at least this likely relative to the most likely one. "
        "0: off.",
    )
    repetition_penalty: float = Field(
        1.0, **_within("repetition_penalty"), description="Values above 1 reduce repetition."
    )
    system_prompt: str = Field(
        DEFAULT_SYSTEM_PROMPT,
        min_length=1,
        max_length=MAX_PERSONA_LENGTH,
        description="The persona where a workspace, channel or thread has none of its own.",
    )

    # --- pictures and other files
    max_image_mib: float = Field(20, gt=0, description="Maximum size of an attached file, in MiB.")
    max_image_mpixels: float = Field(
        50,
        gt=0,
        description="Maximum pixels of a picture, in millions. Larger ones aren't read.",
    )
    max_images_per_message: int = Field(8, ge=0, description="Maximum attached files per message.")
    max_images_per_context: int = Field(
        8, ge=0, description="Maximum pictures per prompt. Older ones become text markers."
    )
    pan_and_scan: Literal["off", "auto", "on"] = Field(
        "auto",
        description="Also show the model crops of a picture: more detail for more tokens. `auto`: "
        "for elongated and high-resolution pictures (never in the demo).",
    )
    max_file_chars: int = Field(
        24_000,
        ge=100,
        description="Maximum characters of an attached text file or PDF. Longer ones lose their "
        "middle.",
    )
    file_timeout_s: float = Field(
        20, gt=0, description="Seconds allowed to download an attached file, and again to read it."
    )
    file_processes: int = Field(
        2, ge=1, description="Number of processes that read attached files in parallel."
    )
    extra_media_hosts: str = Field(
        "",
        description="Extra hosts that attachments may be downloaded from, also over http and at "
        "private addresses. Example: `files.example.com, 10.0.0.5:9000`.",
    )

    # --- when to answer and what to keep; admins can change these per channel in chat
    reply_mode: Literal["mention", "always", "strict", "never"] = Field(
        "mention",
        description="When to answer: `mention` (when mentioned, and in threads it takes part in), "
        "`always`, `strict` (only when mentioned) or `never`.",
    )
    inline: bool = Field(False, description="Answer in the channel instead of opening a thread.")
    answer_bots: bool = Field(False, description="Answer other bots that mention Parley.")
    retention_days: int = Field(
        0,
        ge=0,
        le=MAX_DAYS,
        description="Days until messages and replies are deleted. 0: keep them.",
    )
    max_context_image_mib: float = Field(
        32, gt=0, description="Maximum size of all pictures in a prompt, in MiB."
    )

    # --- the service
    data_dir: Path = Field(Path("data"), description="Folder for the database and other state.")
    database_url: str = Field(
        "sqlite+aiosqlite:///data/parley.db",
        description="SQLAlchemy URL, sqlite+aiosqlite or postgresql+asyncpg. Unset: `parley.db` in "
        "PARLEY_DATA_DIR.",
    )
    http_host: str = Field(
        "127.0.0.1", description="Address that the playground and /healthz listen on."
    )
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port that they listen on. 0: any free port."
    )
    http_token: SecretStr | None = Field(
        None,
        description="Token that the playground asks for: at least 16 characters. Required if "
        "PARLEY_HTTP_HOST is not a loopback address.",
    )
    shutdown_grace_s: float = Field(
        20, ge=0, description="Seconds that running replies get to finish when Parley stops."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Log level."
    )

    @field_validator("cache_dir", "data_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("http_token")
    @classmethod
    def _check_token_length(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("is too short: use at least 16 characters")
        return value

    @field_validator("discord_api_url", "discord_gateway_url")
    @classmethod
    def _check_discord_url(cls, value: str, info: ValidationInfo) -> str:
        schemes = ("http", "https") if info.field_name == "discord_api_url" else ("ws", "wss")
        scheme, _, rest = value.partition("://")
        if value and (scheme not in schemes or not rest):
            raise ValueError(
                f"must start with {schemes[1]}:// (or {schemes[0]}:// for a test server)"
            )
        return value.rstrip("/")

    @field_validator("slack_api_url")
    @classmethod
    def _check_slack_url(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise ValueError("must start with https:// (or http:// for a test server)")
        return value if value.endswith("/") else f"{value}/"

    @field_validator("encryption_key")
    @classmethod
    def _check_key_length(cls, value: SecretStr | None) -> SecretStr | None:
        keys = [key.strip() for key in value.get_secret_value().split(",")] if value else []
        if any(len(key) < 32 for key in keys):
            raise ValueError("is too short: use at least 32 characters")
        return value

    @field_validator("extra_media_hosts")
    @classmethod
    def _check_media_hosts(cls, value: str) -> str:
        parse_extra_hosts(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        # The URL may hold a password: the message must not repeat it.
        try:
            driver = make_url(value).drivername
        except ArgumentError:
            raise ValueError(
                "is not a database URL: use one such as sqlite+aiosqlite:///data/parley.db"
            ) from None
        if driver not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
            raise ValueError(
                f"uses the driver {driver!r}: use sqlite+aiosqlite or postgresql+asyncpg"
            )
        return value

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.max_new_tokens >= self.max_context:
            raise ValueError(
                f"PARLEY_MAX_NEW_TOKENS is {self.max_new_tokens}: it must be less than "
                f"PARLEY_MAX_CONTEXT ({self.max_context})"
            )
        if not self.is_loopback and self.http_token is None:
            raise ValueError(
                f"PARLEY_HTTP_HOST is {self.http_host}, which other machines can reach: set "
                "PARLEY_HTTP_TOKEN to a secret of at least 16 characters, or use 127.0.0.1"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the web page."""
        if self.http_host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.http_host).is_loopback
        except ValueError:
            return False

    @property
    def has_discord(self) -> bool:
        """Whether Discord is configured."""
        return self.discord_token is not None

    @property
    def has_slack(self) -> bool:
        """Whether Slack is configured, by a bot token or for installation by OAuth."""
        return bool(self.slack_bot_token or (self.slack_client_id and self.slack_client_secret))

    @property
    def has_platform(self) -> bool:
        """Whether any platform is configured."""
        return self.has_discord or self.has_slack

    @property
    def model_name(self) -> str:
        """The model to load, with the default filled in."""
        if self.model:
            return self.model
        return DEFAULT_MODEL if self.has_platform else "demo"

    @property
    def effective_database_url(self) -> str:
        """`database_url` if it is set, otherwise a SQLite file in `data_dir`."""
        if "database_url" in self.model_fields_set:
            return self.database_url
        return f"sqlite+aiosqlite:///{self.data_dir / 'parley.db'}"


def env_name(name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings. `overrides`, by field name, come from the command line and win.

    Raises:
        SettingsError: one line that names the setting, the problem and the fix.
    """
    _refuse_unknown_names()
    values = {
        env_name(name, Settings.model_fields[name]) if _has_alias(name) else name: value
        for name, value in (overrides or {}).items()
        if value is not None
    }
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


def _has_alias(name: str) -> bool:
    return Settings.model_fields[name].validation_alias is not None


def _refuse_unknown_names() -> None:
    """Reject misspelled settings, which would silently have no effect."""
    names = {env_name(name, field) for name, field in Settings.model_fields.items()}
    dotenv = dotenv_values(".env") if Path(".env").is_file() else {}
    for name in (*os.environ, *dotenv):
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            close = difflib.get_close_matches(name.upper(), names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see .env.example"
            raise SettingsError(f"{name} is not a Parley setting: {hint}")


def _one_line(error: ValidationError) -> str:
    """The first problem of a validation error, naming the variable and never showing a secret."""
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
        "# Parley's settings. Copy this file to `.env` and change what you need.",
        "# Generated by `python -m bot.config`: edit bot/config.py, not this file.",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            value = str(default).lower()
        else:
            value = "" if default is None else str(default)
        quoted = f'"{value}"' if " " in value else value
        comment = textwrap.wrap(str(field.description), 98, break_on_hyphens=False)
        lines += ["", *(f"# {line}" for line in comment), f"#{env_name(name, field)}={quoted}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(env_example(), end="")
