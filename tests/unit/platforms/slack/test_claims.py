"""Deliveries are claimed once, and given back if handling them fails."""

from __future__ import annotations

import pytest

from bot.platforms.slack.claims import Claims


def test_claims_are_given_back_where_the_work_failed() -> None:
    claims = Claims(max_claims=3)
    with claims.claim("e1", "m1") as new:
        assert new
    with claims.claim("e2", "m1") as new:
        assert not new
    with pytest.raises(ValueError), claims.claim("e3", "m3"):
        raise ValueError
    with claims.claim("e3", "m3") as new:
        assert new
    for number in range(5):
        with claims.claim(f"x{number}"):
            pass
    with claims.claim("e1") as new:
        assert new  # forgotten: it is bounded
