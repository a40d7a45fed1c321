// The middle pane: the messages of a channel or of the direct messages, and the message box.

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { askName } from "./dialogs.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { MessageList } from "./list.js";
import { attempt } from "./tell.js";
import * as texts from "./texts.js";

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
    this.rename = iconButton("edit", texts.RENAME_CHANNEL, () => this.askRename());
    this.noticeLine = h("div", { class: "notice-line", hidden: true });
    this.list = new MessageList({ state, openThread: go.openThread, inThread: false }, texts.MESSAGES);
    this.composer = new Composer(state, node, {
      label: texts.MESSAGE_BOX,
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

  /** Show the current channel, after it, the person or the loaded messages changed. */
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
    this.title.textContent = dm ? texts.PARLEY : `# ${channel.name}`;
    this.where.textContent = dm ? texts.ONLY_YOU_AND_PARLEY : "";
    this.rename.hidden = dm;
    document.title = texts.pageTitle(dm ? texts.PARLEY : `#${channel.name}`);
    const placeholder = dm ? texts.MESSAGE_PARLEY : texts.messageChannel(channel.name);
    this.composer.moved(this.place, place, { placeholder, mention: !dm });
    this.place = place;
    this.showNotice();
    this.show({ toEnd });
  }

  show({ toEnd = false } = {}) {
    const ids = this.state.roots.get(this.state.channel);
    if (ids === undefined) return; // still loading: keep what is shown
    const more = this.state.more.get(this.state.channel)
      ? h("button", { type: "button", class: "button earlier", onclick: () => this.go.ask({ type: "page", id: this.state.channel, before: ids[0] }) }, texts.EARLIER_MESSAGES)
      : null;
    this.list.top.replaceChildren(...[ids.length === 0 ? this.empty() : more].filter(Boolean));
    this.list.show(ids, { toEnd });
  }

  empty() {
    const dm = this.channel.kind === "dm";
    const samples = this.state.hello.samples.map((text) =>
      h("button", { type: "button", onclick: () => this.send(dm ? text : `@Parley ${text}`) }, text, icon("arrow")));
    return h("section", { class: "empty", "aria-label": texts.GETTING_STARTED },
      avatar("parley"),
      h("h3", {}, dm ? texts.helloInDm(this.state.me.name) : texts.helloInChannel(this.channel.name)),
      h("p", {}, dm ? texts.ABOUT_DM : texts.ABOUT_CHANNEL),
      h("div", { class: "samples" }, samples),
      h("p", { class: "tip" }, h("kbd", {}, "/"), texts.TIP_COMMANDS, h("kbd", {}, "@"), texts.TIP_MENTIONS));
  }

  showNotice() {
    const text = this.state.hello.notice;
    let hidden = false;
    try {
      hidden = localStorage.getItem(HIDDEN_NOTICE) === text;
    } catch {
      // Storage is off, so the notice comes back.
    }
    this.noticeLine.hidden = !text || hidden;
    this.noticeLine.replaceChildren(icon("info"), h("span", { class: "text" }, text), iconButton("close", texts.DISMISS_NOTICE, () => {
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
      this.state.emit("notice", { ...place, notice: { text: texts.MENTION_HINT, ok: true } });
    }
  }

  editLast() {
    const message = this.state.lastOwn(this.state.channel, null);
    if (message) this.list.edit(message.id);
    return Boolean(message);
  }

  askRename() {
    const channel = this.channel;
    askName({ title: texts.RENAME_TITLE, hint: texts.RENAME_HINT, value: channel.name, button: texts.RENAME },
      (name) => api.renameChannel(channel.id, name));
  }
}
