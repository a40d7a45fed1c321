"""A request that is turned down: an HTTP status and one clear sentence."""

from __future__ import annotations


class Refused(Exception):
    """The request is turned down with `status` (4xx or 5xx); the text is for the person."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
