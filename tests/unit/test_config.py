"""Settings: typed, refused in one line, listed in .env.example from the same source."""

from pathlib import Path

import pytest

from bot import config

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    import os

    for name in list(os.environ):
        if name.startswith("PARLEY_"):
            monkeypatch.delenv(name)
    for name in ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_env_example_is_made_from_the_settings() -> None:
    assert (REPOSITORY / ".env.example").read_text() == config.env_example()


def test_every_setting_is_described() -> None:
    for name, field in config.Settings.model_fields.items():
        assert field.description, name


def test_the_example_changes_nothing_when_uncommented(clean_environment: Path) -> None:
    lines = [
        line.removeprefix("#")
        for line in config.env_example().splitlines()
        if line.startswith("#") and not line.startswith("# ")
    ]
    (clean_environment / ".env").write_text("\n".join(lines))
    loaded = config.load()
    assert loaded.model_dump() == config.Settings(_env_file=None).model_dump()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PARLEY_HTTP_PORT", "abc", "PARLEY_HTTP_PORT is 'abc'"),
        ("PARLEY_HTTP_PORT", "70000", "PARLEY_HTTP_PORT"),
        ("PARLEY_HTTP_HOST", "0.0.0.0", "set PARLEY_HTTP_TOKEN"),
        ("PARLEY_HTTP_TOKEN", "short", "16 characters"),
        ("PARLEY_MODLE", "demo", "did you mean PARLEY_MODEL?"),
        ("PARLEY_DTYPE", "int3", "PARLEY_DTYPE"),
        ("PARLEY_MAX_NEW_TOKENS", "9000", "PARLEY_MAX_CONTEXT"),
        ("PARLEY_DATABASE_URL", "postgresql://u:geheim@host/x", "postgresql+asyncpg"),
        ("PARLEY_DATABASE_URL", "geheim", "is not a database URL"),
        ("PARLEY_TEMPERATURE", "-1", "PARLEY_TEMPERATURE"),
    ],
)
def test_a_wrong_value_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(config.SettingsError) as caught:
        config.load()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_misspelt_name_in_the_file_is_refused(clean_environment: Path) -> None:
    (clean_environment / ".env").write_text("PARLEY_DEVCE=cpu\n")
    with pytest.raises(config.SettingsError, match="PARLEY_DEVICE"):
        config.load()


def test_the_model_defaults_by_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().model_name == "demo"
    monkeypatch.setenv("DISCORD_TOKEN", "secret-token")
    assert config.load().model_name == "google/gemma-3-4b-it"
    monkeypatch.setenv("PARLEY_MODEL", "demo")
    assert config.load().model_name == "demo"


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "very-secret")
    monkeypatch.setenv("PARLEY_HTTP_TOKEN", "very-secret-and-long")
    assert "very-secret" not in repr(config.load())


def test_the_database_lies_in_the_data_folder_unless_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path))
    assert config.load().effective_database_url == f"sqlite+aiosqlite:///{tmp_path}/parley.db"
    monkeypatch.setenv("PARLEY_DATABASE_URL", "postgresql+asyncpg://host/parley")
    assert config.load().effective_database_url == "postgresql+asyncpg://host/parley"


def test_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_HTTP_PORT", "1234")
    assert config.load({"http_port": 4321, "model": None}).http_port == 4321
