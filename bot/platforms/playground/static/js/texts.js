// Everything the page says, in one place for review and translation. What the server says is in texts.py.

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

// Requests
export const UNREACHABLE = "Parley can't be reached. Is it still running?";
export const badStatus = (status) => `Parley answered with status ${status}.`;

// Channels and threads
export const PARLEY = "Parley";
export const pageTitle = (place) => `${place} · Parley playground`;
export const RENAME_CHANNEL = "Rename this channel";
export const RENAME_TITLE = "Rename channel";
export const RENAME_HINT = "Everyone sees the new name right away.";
export const RENAME = "Rename";
export const CREATE_CHANNEL = "Create a channel";
export const CREATE_HINT = "Each channel can have its own persona.";
export const CREATE = "Create";
export const ONLY_YOU_AND_PARLEY = "Only you and Parley";
export const EARLIER_MESSAGES = "Show earlier messages";
export const MESSAGES = "Messages";
export const THREAD = "Thread";
export const CLOSE_THREAD = "Close thread (Esc)";
export const DISMISS_NOTICE = "Hide this hint";

export const GETTING_STARTED = "Getting started";
export const helloInDm = (name) => `Hello ${name}, I'm Parley`;
export const helloInChannel = (name) => `Say hello in #${name}`;
export const ABOUT_DM = "I answer everything you write here, and nobody else can see it.";
export const ABOUT_CHANNEL =
  "Mention @Parley to get an answer in a thread. Open a second tab as someone else and ask at the same time: both get answered at once.";
export const TIP_COMMANDS = " for commands, ";
export const TIP_MENTIONS = " to mention someone";
export const MENTION_HINT = "In channels, Parley only answers when mentioned. Start with **@Parley**.";

// The message box
export const MESSAGE_BOX = "Message";
export const REPLY_BOX = "Reply in thread";
export const MESSAGE_PARLEY = "Message Parley";
export const messageChannel = (name) => `Message #${name} (mention @Parley to ask it)`;
export const REPLY_TO_PARLEY = "Reply (Parley answers here without a mention)";
export const REPLY_TO_PEOPLE = "Reply (mention @Parley to bring it in)";
export const SEND = "Send";
export const SEND_TITLE = "Send (Enter)";
export const ADD_FILES = "Add pictures or files";
export const MENTION_PARLEY = "@Parley";
export const COMMANDS_HINT = " for commands";
export const SUGGESTIONS = "Suggestions";
export const ASK_PARLEY = "Ask the assistant";

export const FILES_TO_SEND = "Files to send";
export const removeFile = (name) => `Remove ${name}`;
export const tooManyFiles = (most) => `A message can have at most ${most} files.`;
export const fileTooLarge = (name, megabytes) => `${name} is too large. The limit is ${megabytes} MB.`;
export const bytes = (count) => `${count} B`;
export const kilobytes = (count) => `${count} kB`;
export const megabytes = (count) => `${count} MB`;

// Messages
export const ADMIN = "admin";
export const MEMBER = "member";
export const BOT = "bot";
export const EDITED = "edited";
export const DELETED = "This message was deleted.";
export const viewFile = (name) => `View ${name}`;
export const messageLabel = (author, time) => `${author}, ${time}`;
export const replyCount = (count) => plural(count, "reply", "replies");
export const WRITING = "Parley is writing…";
export const lastReply = (name, text) => `${name}: ${text}`;
export const announcement = (text) => `Parley: ${text}`;
export const ONLY_YOU = "Only you can see this";
export const DISMISS = "Dismiss";

export const REPLY_IN_THREAD = "Reply in thread";
export const EDIT_MESSAGE = "Edit message";
export const EDIT_BOX = "Edit your message";
export const EDIT_HINT = "If a reply is being written, it starts over.";
export const SAVE = "Save";
export const CANCEL = "Cancel";
export const DELETE_MESSAGE = "Delete message";
export const DELETE_TITLE = "Delete this message?";
export const DELETE_WARNING = "This can't be undone. A reply that is being written to it is canceled.";
export const DELETE = "Delete";
export const NAME = "Name";

export const THINKING = "Thinking";
export const waiting = (ahead) => `Waiting: ${ahead} ahead of you`;
export const STOP = "Stop";
export const REGENERATE = "Regenerate";
export const TRY_AGAIN = "Try again";

export const COPY = "Copy";
export const COPIED = "Copied";
export const CODE = "text"; // a code block without a language
export const DONE = "done";
export const TO_DO = "to do";
export const PICTURE = "picture";

// Sidebar and top bar
export const PLAYGROUND = "playground";
export const CHANNELS = "Channels";
export const DIRECT_MESSAGES = "Direct messages";
export const UNREAD = "unread";
export const ANSWERED_BY = "Answered by";
export const ON_THIS_MACHINE = "on this machine, for everyone at once.";
export const ACT_AS = "Act as";
export const ACTING_AS = "Acting as";
export const actAs = (name, isAdmin) => `Act as ${name}${isAdmin ? " (admin)" : ""}`;

// The live strip
export const TOKENS_PER_SECOND = " tokens/s";
export const IDLE = "idle";
export const LOADING = "loading the model";
export const running = (count) => (count > 1 ? `${count} at once` : `${count} running`);
export const queued = (count) => `${count} waiting`;
export const STRIP_IDLE = "Batcher activity: each conversation being answered gets a lane here.";
export const STRIP_LOADING = "The model is loading. Ask anyway: you'll be answered as soon as it's ready.";
export const DIRECT = "direct message";
export const laneLabel = (name, place) => (name ? `${name} · ${place}` : place);
export const reading = (prefilled, prompt) => `reading ${prefilled}/${prompt}`;
export const tokens = (count) => `${count} tokens`;

// Times
export const TODAY = "Today";
export const YESTERDAY = "Yesterday";
