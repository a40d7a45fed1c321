"""Why a file could not be fetched: each error's text is the reason, for people."""

from __future__ import annotations

from bot.core.ports import BadImage


class DownloadError(BadImage):
    """The file could not be fetched. The text never holds a URL, which may carry a signature."""


class DownloadRefused(DownloadError):
    """The file's address is one that nothing may be fetched from. `host`: which, if known."""

    def __init__(self, reason: str, *, host: str = "") -> None:
        super().__init__(reason)
        self.host = host


class DownloadTooLarge(DownloadError):
    """The file has more bytes than are let in."""


class DownloadStatus(DownloadError):
    """The host answered with an error. 401, 403 and 404: also what an expired address gets."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the platform did not hand it out (status {status})")
        self.status = status


class HtmlInsteadOfFile(DownloadError):
    """A web page came with status 200 where a file was asked for.

    Slack answers so where the app lacks the scope `files:read` or is not in the channel.
    """

    def __init__(self) -> None:
        super().__init__("the platform sent a web page instead of it")
