"""What can be known of a token without asking Discord, and how failures read."""

from __future__ import annotations

import pytest

from bot.platforms.base import PlatformError
from bot.platforms.discord.rest import RestError, application_id_in


@pytest.mark.parametrize(
    ("token", "application_id"),
    [("MTIzNDU2Nzg5.x.y", "123456789"), ("nonsense", None), ("", None), ("a.b", None)],
)
def test_the_id_in_a_token(token: str, application_id: str | None) -> None:
    assert application_id_in(token) == application_id


def test_an_error_is_one_line_of_its_problem_and_its_fix() -> None:
    error: PlatformError = RestError("Discord rejected it", "try another", 401)
    assert str(error) == "Discord rejected it: try another"
