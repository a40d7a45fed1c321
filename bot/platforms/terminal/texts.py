"""What `parley chat` says to the person at the keyboard."""

GREETING = "Ask me anything. Type /help for the commands, or press Ctrl-D to leave."
LEAVE_HINT = "Press Ctrl-C again, or Ctrl-D, to leave."
THINKING = "thinking"

IMAGE_HELP = "Attach a picture or another file to your next message"
QUIT_HELP = "Leave the chat (or press Ctrl-D)"
OWN_HELP = f"`/image <path>` {IMAGE_HELP}.\n`/quit` {QUIT_HELP}. Ctrl-C stops a reply."

IMAGE_USAGE = "Which file? Type /image followed by its path."
NOT_A_PATH = "not a valid path"


def waiting(ahead: int) -> str:
    return f"{ahead} ahead of you" if ahead else THINKING


def prompt(attachments: int) -> str:
    if not attachments:
        return "> "
    return "[1 file] > " if attachments == 1 else f"[{attachments} files] > "


def attached(name: str) -> str:
    return f"{name} will be sent with your next message."


def earlier_question(question: str) -> str:
    return f"You asked earlier: {question}"


def is_folder(path: object) -> str:
    return f"{path} is a folder."


def not_a_regular_file(path: object) -> str:
    return f"{path} is not a regular file."


def cannot_open(path: object, reason: str) -> str:
    return f"I can't open {path}: {reason}."
