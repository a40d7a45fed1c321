"""Discord's refusals."""

from __future__ import annotations


class ApiError(Exception):
    def __init__(
        self, status: int, code: int, text: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.retry_after = status, code, text, retry_after


def unknown_channel() -> ApiError:
    return ApiError(404, 10003, "Unknown Channel")


def unknown_message() -> ApiError:
    return ApiError(404, 10008, "Unknown Message")


def unknown_interaction() -> ApiError:
    return ApiError(404, 10062, "Unknown interaction")


def already_acknowledged() -> ApiError:
    return ApiError(400, 40060, "Interaction has already been acknowledged.")


def invalid_webhook_token() -> ApiError:
    return ApiError(401, 50027, "Invalid Webhook Token")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def invalid_form(text: str) -> ApiError:
    return ApiError(400, 50035, f"Invalid Form Body: {text}")


def thread_exists() -> ApiError:
    return ApiError(400, 160004, "A thread has already been created for this message")


def too_old_to_edit(retry_after: float) -> ApiError:
    text = "Maximum number of edits to messages older than 1 hour reached. Try again later."
    return ApiError(429, 30046, text, retry_after=retry_after)
