// The right pane: one thread.

import { Composer } from "./composer.js";
import { h, iconButton } from "./dom.js";
import { MessageList } from "./list.js";
import * as texts from "./texts.js";

export class ThreadPane {
  /** `onClose()`: the person closed it. */
  constructor(state, node, onClose) {
    this.state = state;
    this.node = node;
    this.place = null;
    this.where = h("span", { class: "where" });
    this.list = new MessageList({ state, openThread: () => {}, inThread: true }, texts.THREAD);
    this.composer = new Composer(state, node, {
      label: texts.REPLY_BOX,
      place: () => ({ channel: state.messages.get(state.thread)?.channel ?? state.channel, thread: state.thread }),
      onSent: (answer, _text, place) => {
        this.list.clearNotices();
        if (answer.notice) state.emit("notice", { ...place, notice: answer.notice });
        this.list.pinned = true;
        this.list.keepToEnd();
      },
      onEditLast: () => {
        const message = state.lastOwn(state.channel, state.thread);
        if (message) this.list.edit(message.id);
        return Boolean(message);
      },
    });
    node.append(
      h("div", { class: "pane-head" }, h("h2", {}, texts.THREAD), this.where, h("span", { class: "spread" }), iconButton("close", texts.CLOSE_THREAD, onClose)),
      this.list.scroller, this.composer.form,
    );
  }

  /** Show the current thread; hide the pane if there is none. */
  open({ focus = false } = {}) {
    const root = this.state.thread;
    this.node.hidden = root === null;
    if (root === null) {
      this.place = null;
      return;
    }
    const place = `${this.state.me.id}:${root}`;
    const moved = place !== this.place;
    if (moved) {
      this.list.clearNotices();
      this.list.editing = null;
      this.list.show([]);
    }
    const channel = this.state.channels.get(this.state.channel);
    this.where.textContent = channel ? `#${channel.name}` : "";
    this.show({ toEnd: moved });
    this.composer.moved(this.place, place, { placeholder: this.placeholder(), mention: !this.withParley() });
    this.place = place;
    if (focus) this.composer.box.focus();
  }

  show({ toEnd = false } = {}) {
    const root = this.state.thread;
    const loaded = this.state.threads.has(root) && this.state.messages.has(root);
    if (loaded) this.list.show([root, ...this.state.replies(root)], { toEnd });
    this.composer.box.placeholder = this.placeholder();
    this.composer.ask.hidden = this.withParley();
  }

  withParley() {
    const root = this.state.messages.get(this.state.thread);
    return /@parley\b/i.test(root?.text ?? "") || this.state.replies(this.state.thread).some((id) => this.state.messages.get(id)?.author === "parley");
  }

  placeholder() {
    return this.withParley() ? texts.REPLY_TO_PARLEY : texts.REPLY_TO_PEOPLE;
  }
}
