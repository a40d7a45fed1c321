"""The inside of one line of Markdown: emphasis, links and code, as CommonMark defines them."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token


def parse_inline(line: str) -> list[Token]:
    """The tokens of a line. Links go anywhere: who shows them judges the address."""
    tokens: list[Token] = []
    _PARSER.inline.parse(line, _PARSER, {}, tokens)
    return tokens


def plain_text(line: str) -> str:
    """What is read in a line, without its marks."""
    return text_of(parse_inline(line))


def text_of(tokens: list[Token]) -> str:
    """What is read in some tokens; a picture is its description."""
    return "".join(token.content for token in tokens)


class _AnyLink(MarkdownIt):
    """Leaves addresses as they are written."""

    def validateLink(self, url: str) -> bool:
        return True

    def normalizeLink(self, url: str) -> str:
        return url

    def normalizeLinkText(self, link: str) -> str:
        return link


_PARSER = _AnyLink("commonmark", {"html": False}).enable("strikethrough")
