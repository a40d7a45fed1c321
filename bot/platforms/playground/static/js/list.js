// A scrolling list of messages, in a channel or a thread: keeps to the end while one is there.

import { h, iconButton } from "./dom.js";
import { bodyNode, messageNode } from "./message.js";
import { render } from "./markdown.js";
import { dayName, dayOf } from "./time.js";

const JOIN_WITHIN_MS = 5 * 60 * 1000;
const NEAR_END_PX = 90;

export class MessageList {
  /** `context`: see message.js. `before`: nodes above all messages; `empty()`: shown when there are none. */
  constructor(context, label) {
    this.context = context;
    this.items = new Map(); // id -> {node, and what it was made of}
    this.ids = [];
    this.editing = null;
    this.dirty = new Set();
    this.list = h("ol", { "aria-label": label });
    this.extra = h("div");
    this.top = h("div");
    this.scroller = h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": label }, this.top, this.list, this.extra);
    this.pinned = true;
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.pinned = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    }, { passive: true });
    new ResizeObserver(() => this.keepToEnd()).observe(this.list);
    this.list.addEventListener("load", () => this.keepToEnd(), true);
  }

  /** Show these messages, keeping the nodes of those that are there already. */
  show(ids, { toEnd = false } = {}) {
    const fromEnd = this.scroller.scrollHeight - this.scroller.scrollTop;
    const grewOnTop = this.ids.length > 0 && ids.length > this.ids.length && ids.at(-1) === this.ids.at(-1);
    this.ids = [...ids];
    const kept = this.items;
    this.items = new Map();
    this.ids.forEach((id, at) => {
      const around = this.around(at);
      const old = kept.get(id);
      const same = old && old.message === around.message && old.previous === around.previous && old.count === around.count;
      this.items.set(id, same || (old && id === this.editing) ? old : this.item(id, around));
    });
    place(this.list, [...this.items.values()].map((item) => item.node));
    this.pinned = toEnd || this.pinned;
    if (grewOnTop && !toEnd) this.scroller.scrollTop = this.scroller.scrollHeight - fromEnd;
    else this.keepToEnd();
  }

  /** What a message's node depends on besides the message. */
  around(at) {
    const { state, inThread } = this.context;
    return {
      message: state.messages.get(this.ids[at]),
      previous: at > 0 ? state.messages.get(this.ids[at - 1]) : null,
      count: inThread && at === 0 ? this.ids.length - 1 : 0,
    };
  }

  item(id, { message, previous, count }) {
    const newDay = previous === null || dayOf(previous.at) !== dayOf(message.at);
    const joined = !newDay && previous.author === message.author && !message.reply && !previous.removed
      && new Date(message.at) - new Date(previous.at) < JOIN_WITHIN_MS
      && !(this.context.inThread && previous.thread === null);
    const node = messageNode(message, this.context, {
      joined,
      editing: this.editing === id,
      onEditEnd: (edited) => this.edit(this.editing === edited ? null : edited),
    });
    const rule = count ? h("div", { class: "thread-rule" }, `${count} ${count === 1 ? "reply" : "replies"}`) : null;
    const day = newDay ? h("div", { class: "day" }, dayName(message.at)) : null;
    return { node: h("li", {}, day, node, rule), message, previous, count };
  }

  /** A message came or changed; one that is being edited stays as it is till then. */
  update(id, { evenEdited = false } = {}) {
    const old = this.items.get(id)?.node;
    if (!old || (id === this.editing && !evenEdited)) return;
    const focused = old.contains(document.activeElement) ? document.activeElement.className : null;
    const item = this.item(id, this.around(this.ids.indexOf(id)));
    this.items.set(id, item);
    old.replaceWith(item.node);
    if (focused) item.node.querySelector(`button[class="${CSS.escape(focused)}"], .controls button, .actions button`)?.focus({ preventScroll: true });
    this.keepToEnd();
  }

  /** The text of a running reply grew: drawn at the next frame, once. */
  grow(id) {
    if (!this.items.has(id)) return;
    if (this.dirty.size === 0) requestAnimationFrame(() => this.paint());
    this.dirty.add(id);
  }

  paint() {
    for (const id of this.dirty) {
      const message = this.context.state.messages.get(id);
      const article = this.items.get(id)?.node.querySelector(".message");
      if (!message || !article) continue;
      if (article.classList.contains("streaming")) growBody(article.querySelector(".body"), message.text);
      else this.update(id);
    }
    this.dirty.clear();
    this.keepToEnd();
  }

  edit(id) {
    const before = this.editing;
    this.editing = id;
    for (const one of [before, id]) if (one !== null) this.update(one, { evenEdited: true });
  }

  keepToEnd() {
    if (this.pinned) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** An answer for this person only, until it is closed. */
  notice({ text, ok }) {
    const node = h("div", { class: `ephemeral ${ok ? "" : "bad"}`, role: "status" },
      h("div", { class: "inner" }, h("div", { class: "body" }, render(text)), h("div", { class: "only-you" }, "Only you can see this")),
      iconButton("close", "Dismiss", () => node.remove()));
    this.extra.append(node);
    this.pinned = true;
    this.keepToEnd();
  }

  clearNotices() {
    this.extra.replaceChildren();
  }
}

/** Make these the children, moving as few as possible: a moved node loses its focus. */
function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
}

/** Replace only the blocks that changed: what was written before stays (a selection, a scroll). */
function growBody(body, text) {
  const fresh = bodyNode({ text }).childNodes;
  const nodes = [...fresh];
  for (let at = 0; at < nodes.length; at += 1) {
    const old = body.childNodes[at];
    if (!old) body.append(nodes[at]);
    else if (!old.isEqualNode(nodes[at])) old.replaceWith(nodes[at]);
  }
  while (body.childNodes.length > nodes.length) body.lastChild.remove();
}
