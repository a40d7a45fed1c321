"""What the playground's server says to people; what the page says is in static/js/texts.js."""

SAMPLES = (
    "Hello! What can you do?",
    "Explain what a qubit is in two sentences.",
    "Write a short poem about the sea.",
    "Give me three ideas for a rainy Sunday.",
)
INTERRUPTED = "This reply was interrupted because Parley was stopped while writing it."

# Channels, messages and files

NO_CHANNEL = "That channel doesn't exist."
NO_MESSAGE = "That message doesn't exist."
NO_THREAD = "That thread doesn't exist in this channel."
NO_FILE = "That file doesn't exist."
DM_NAME = "Direct messages can't be renamed."
TOO_MANY_UNSENT = "You have too many unsent files. Send or remove some first."
EMPTY_MESSAGE = "Write a message or attach a file first."
EMPTY_EDIT = "A message can't be empty. Delete it instead."
MISSING_UPLOAD = "A file is missing: it was already sent or removed."
NOT_YOUR_MESSAGE = "You can only change your own messages."
NOT_A_REPLY = "That isn't one of Parley's replies."
CHANNEL_NAME_MISSING = "A channel needs a name."
CHANNEL_NAME_CHARACTERS = "Channel names can only have letters, digits, hyphens and underscores."
NOT_YOUR_UPLOAD = "You can only remove your own files, and only before they are sent."
UNKNOWN_FORMAT = "That picture can't be used: unknown format."

SENT_PICTURE = "sent a picture"
SENT_FILE = "sent a file"
COULD_NOT_ANSWER = "couldn't answer"
WAS_STOPPED = "was stopped"


def channel_name_taken(name: str) -> str:
    return f"There is already a channel named #{name}."


def channel_name_too_long(limit: int) -> str:
    return f"Channel names can have at most {limit} characters."


def file_too_large(limit_mb: float) -> str:
    return f"That file is too large. The limit is {limit_mb:g} MB."


def unusable_file(reason: object) -> str:
    return f"That file can't be used: {reason}."


def too_many_files(limit: int) -> str:
    return f"A message can have at most {limit} files."


def text_too_long(length: int, limit: int) -> str:
    return f"That is too long: {length:,} characters. The limit is {limit:,}."


def internal_error(ref: str) -> str:
    return f"Something went wrong on Parley's side (reference {ref})."


# Who may talk to the server

FOREIGN_HOST = "The playground doesn't answer to this address."
FOREIGN_SITE = "Requests from other sites aren't allowed."
FOREIGN_PAGE = "Only the playground's own page can do that."
LOGIN_REQUIRED = "Log in with the playground's token first."

LOGIN_TITLE = "Log in · Parley playground"
LOGIN_HEADING = "Parley playground"
LOGIN_HINT = "The token is the value of PARLEY_HTTP_TOKEN. Ask whoever runs this Parley for it."
LOGIN_FIELD = "Token"
LOGIN_BUTTON = "Log in"
LOGIN_CONTINUE = "Open the playground"
WRONG_TOKEN = "That token is incorrect."  # noqa: S105  (a sentence)
NO_TOKEN = "That isn't a token."  # noqa: S105


def too_many_tabs(limit: int) -> str:
    return f"Too many tabs are open ({limit}). Close one and try again."


# Requests that the page never makes; they name the field for whoever made them by hand

NOT_FOUND = "Not found."
NO_PERSON = "Say who you are with the `as` parameter: ana, ben, chloe or dev."
JSON_EXPECTED = "The request must be JSON."
JSON_INVALID = "The request is not valid JSON."
JSON_OBJECT_EXPECTED = "The request must be a JSON object."
REQUEST_TOO_LARGE = "The request is too large."
ID_MISSING = "The field `id` is missing."
UNKNOWN_REQUEST = "The field `type` must be `page` or `thread`."


def string_expected(field: str) -> str:
    return f"The field `{field}` must be a string."


def id_expected(field: str) -> str:
    return f"The field `{field}` must be an id."


def ids_expected(field: str) -> str:
    return f"The field `{field}` must be a list of ids."
