// The middle: a channel's (or the direct) messages and its message box.

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { askName } from "./dialogs.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { MessageList } from "./list.js";
import { attempt } from "./tell.js";

const HIDDEN_NOTICE = "parley-notice-hidden";

export class ChannelPane {
  /** `go`: {openThread, ask}. */
  constructor(state, node, go) {
    this.state = state;
    this.node = node;
    this.go = go;
    this.place = null;
    this.hinted = false;
    this.title = h("h2", { id: "channel-title" });
    this.where = h("span", { class: "where" });
    this.rename = iconButton("edit", "Rename this channel", () => this.askRename());
    this.noticeLine = h("div", { class: "notice-line", hidden: true });
    this.list = new MessageList({ state, openThread: go.openThread, inThread: false }, "Messages");
    this.composer = new Composer(state, node, {
      label: "Message",
      place: () => ({ channel: state.channel, thread: null }),
      onSent: (answer, text, place) => this.sent(answer, text, place),
      onEditLast: () => this.editLast(),
    });
    node.append(
      h("div", { class: "pane-head" }, this.title, this.rename, h("span", { class: "spread" }), this.where),
      this.noticeLine, this.list.scroller, this.composer.form,
    );
  }

  get channel() {
    return this.state.channels.get(this.state.channel);
  }

  /** Another channel, another person, or fresh from the server. */
  open({ toEnd = true } = {}) {
    const channel = this.channel;
    const dm = channel.kind === "dm";
    const place = `${this.state.me.id}:${channel.id}`;
    if (place !== this.place) {
      this.list.clearNotices();
      this.list.editing = null;
      this.list.show([]);
      this.list.top.replaceChildren();
    }
    this.title.textContent = dm ? "Parley" : `# ${channel.name}`;
    this.where.textContent = dm ? "Only you and Parley" : "";
    this.rename.hidden = dm;
    document.title = `${dm ? "Parley" : `#${channel.name}`} · Parley playground`;
    const placeholder = dm ? "Message Parley" : `Message #${channel.name}, @Parley to ask it`;
    this.composer.moved(this.place, place, { placeholder, mention: !dm });
    this.place = place;
    this.showNotice();
    this.show({ toEnd });
  }

  show({ toEnd = false } = {}) {
    const ids = this.state.roots.get(this.state.channel);
    if (ids === undefined) return; // on its way; what is shown meanwhile stays
    const more = this.state.more.get(this.state.channel)
      ? h("button", { type: "button", class: "button earlier", onclick: () => this.go.ask({ type: "page", id: this.state.channel, before: ids[0] }) }, "Show earlier messages")
      : null;
    this.list.top.replaceChildren(...[ids.length === 0 ? this.empty() : more].filter(Boolean));
    this.list.show(ids, { toEnd });
  }

  empty() {
    const dm = this.channel.kind === "dm";
    const samples = this.state.hello.samples.map((text) =>
      h("button", { type: "button", onclick: () => this.send(dm ? text : `@Parley ${text}`) }, text, icon("arrow")));
    return h("section", { class: "empty", "aria-label": "How to begin" },
      avatar("parley"),
      h("h3", {}, dm ? `Hello ${this.state.me.name}, I'm Parley` : `Say hello in #${this.channel.name}`),
      h("p", {}, dm
        ? "Here I answer everything you write. Nobody else can see this conversation."
        : "Mention @Parley and it answers in a thread. Open a second tab as somebody else and ask at the same time: both are answered at once."),
      h("div", { class: "samples" }, samples),
      h("p", { class: "tip" }, h("kbd", {}, "/"), " lists the commands; ", h("kbd", {}, "@"), " mentions somebody."));
  }

  showNotice() {
    const text = this.state.hello.notice;
    let hidden = false;
    try {
      hidden = localStorage.getItem(HIDDEN_NOTICE) === text;
    } catch {
      // Storage is off: the line just comes back.
    }
    this.noticeLine.hidden = !text || hidden;
    this.noticeLine.replaceChildren(icon("info"), h("span", { class: "text" }, text), iconButton("close", "Hide this hint", () => {
      this.noticeLine.hidden = true;
      try {
        localStorage.setItem(HIDDEN_NOTICE, text);
      } catch {
        // As above.
      }
    }));
  }

  async send(text) {
    const place = { channel: this.state.channel, thread: null };
    const answer = await attempt(() => api.write(place.channel, { text }));
    if (answer) this.sent(answer, text, place);
  }

  sent(answer, text, place) {
    this.list.clearNotices();
    if (answer.notice) this.state.emit("notice", { ...place, notice: answer.notice });
    this.list.pinned = true;
    this.list.keepToEnd();
    if (!answer.message || this.channel.kind === "dm") return;
    if (answer.mentions_parley) this.go.openThread(answer.message.id, { focus: false });
    else if (!this.hinted && answer.message) {
      this.hinted = true;
      this.state.emit("notice", { ...place, notice: { text: "In a channel Parley answers only when it is mentioned: start with **@Parley**.", ok: true } });
    }
  }

  editLast() {
    const message = this.state.lastOwn(this.state.channel, null);
    if (message) this.list.edit(message.id);
    return Boolean(message);
  }

  askRename() {
    const channel = this.channel;
    askName({ title: "Rename channel", hint: "Everybody sees the new name at once.", value: channel.name, button: "Rename" },
      (name) => api.renameChannel(channel.id, name));
  }
}
