// The tab's state. Only the server's events change it; the views listen for what changed.

export class State extends EventTarget {
  constructor() {
    super();
    this.me = null;
    this.hello = null;
    this.people = new Map();
    this.channels = new Map();
    this.messages = new Map();
    this.roots = new Map(); // channel -> ids, oldest first; absent: not loaded
    this.threads = new Map(); // root -> ids of replies; absent: not loaded
    this.summaries = new Map();
    this.more = new Map(); // channel -> whether there are earlier messages
    this.unread = new Set();
    this.working = new Map(); // reply being written -> channel
    this.channel = null;
    this.thread = null;
  }

  emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  on(type, listener) {
    this.addEventListener(type, (event) => listener(event.detail));
  }

  name(id) {
    return this.people.get(id)?.name ?? id;
  }

  /** Apply one event; unknown ones are ignored. */
  apply(event) {
    HANDLERS[event.type]?.call(this, event);
  }

  replies(root) {
    return this.threads.get(root) ?? [];
  }

  /** The person's newest message in a place, to edit it with the arrow key. */
  lastOwn(channel, thread) {
    const ids = thread === null ? this.roots.get(channel) ?? [] : [thread, ...this.replies(thread)];
    return ids
      .map((id) => this.messages.get(id))
      .filter((m) => m && m.author === this.me.id && !m.removed)
      .at(-1);
  }

  list(message) {
    return message.thread === null ? this.roots.get(message.channel) : this.threads.get(message.thread);
  }

  store(message) {
    this.messages.set(message.id, message);
    if (message.reply?.state === "running") this.working.set(message.id, message.channel);
    else this.working.delete(message.id);
  }
}

const HANDLERS = {
  hello(event) {
    this.hello = event;
    this.me = event.me;
    this.people = new Map([...event.people, event.bot].map((person) => [person.id, person]));
    this.channels = new Map(event.channels.map((channel) => [channel.id, channel]));
    for (const map of [this.messages, this.roots, this.threads, this.summaries, this.more, this.working]) map.clear();
    this.emit("hello");
    this.emit("pulse", event.pulse);
  },

  channel(event) {
    this.channels.set(event.channel.id, event.channel);
    this.emit("channels");
    if (event.channel.id === this.channel) this.emit("renamed");
  },

  page(event) {
    for (const message of event.messages) this.store(message);
    for (const summary of event.threads) this.summaries.set(summary.root, summary);
    const older = event.before === null ? [] : this.roots.get(event.channel) ?? [];
    this.roots.set(event.channel, [...event.messages.map((message) => message.id), ...older]);
    this.more.set(event.channel, event.more);
    this.emit("page", { channel: event.channel, earlier: event.before !== null });
  },

  thread(event) {
    for (const message of event.messages) this.store(message);
    this.threads.set(event.root, event.messages.slice(1).map((message) => message.id));
    this.emit("thread", { root: event.root });
  },

  message(event) {
    const message = event.message;
    const previous = this.messages.get(message.id);
    this.store(message);
    const list = this.list(message);
    const added = list !== undefined && !list.includes(message.id);
    if (added) {
      list.push(message.id);
      list.sort((a, b) => a - b);
    }
    if (event.new && message.author !== this.me.id && message.channel !== this.channel) {
      this.unread.add(message.channel);
    }
    const finished = previous?.reply?.state === "running" && message.reply?.state !== "running";
    this.emit("message", { message, added, finished });
    this.emit("channels");
  },

  summary(event) {
    this.summaries.set(event.summary.root, event.summary);
    this.emit("summary", event.summary);
  },

  delta(event) {
    const message = this.messages.get(event.id);
    if (message === undefined) return;
    if (message.text.length !== event.offset) {
      this.emit("gap", { message });
      return;
    }
    message.text += event.text;
    this.emit("delta", { message });
  },

  removed(event) {
    const message = this.messages.get(event.id);
    this.messages.delete(event.id);
    this.working.delete(event.id);
    const list = event.thread === null ? this.roots.get(event.channel) : this.threads.get(event.thread);
    const at = list?.indexOf(event.id) ?? -1;
    if (at >= 0) list.splice(at, 1);
    this.emit("removed", { id: event.id, channel: event.channel, thread: event.thread, message });
    this.emit("channels");
  },

  pulse(event) {
    this.emit("pulse", event);
  },

  refused(event) {
    this.emit("refused", { error: event.error });
  },
};
