"""Why a file couldn't be downloaded: each error's message is the reason, written for people."""

from __future__ import annotations

from bot.core.ports import BadImage
from bot.media import texts


class DownloadError(BadImage):
    """The download failed. The message never has the URL, which may contain a signature."""


class DownloadRefused(DownloadError):
    """Downloading from the file's address isn't allowed. `host`: which one, if known."""

    def __init__(self, reason: str, *, host: str = "") -> None:
        super().__init__(reason)
        self.host = host


class DownloadTooLarge(DownloadError):
    """The file is larger than the limit."""


class DownloadStatus(DownloadError):
    """The host returned an error. An expired address may also return 401, 403 or 404."""

    def __init__(self, status: int) -> None:
        super().__init__(texts.refused_with_status(status))
        self.status = status


class HtmlInsteadOfFile(DownloadError):
    """The host returned a web page with status 200 instead of the file.

    Slack does this if the app lacks the scope `files:read` or isn't in the channel.
    """

    def __init__(self) -> None:
        super().__init__(texts.WEB_PAGE)
