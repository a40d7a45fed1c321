// A scrolling list of messages, in a channel or a thread; it stays at the end while scrolled there.

import { h, iconButton } from "./dom.js";
import { bodyNode, messageNode } from "./message.js";
import { render } from "./markdown.js";
import * as texts from "./texts.js";
import { dayName, dayOf } from "./time.js";

const JOIN_WITHIN_MS = 5 * 60 * 1000;
const NEAR_END_PX = 90;

export class MessageList {
  /** `context`: see message.js. */
  constructor(context, label) {
    this.context = context;
    this.items = new Map(); // id -> {node, and what it was built from}
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

  /** Show these messages, reusing the nodes of unchanged ones. */
  show(ids, { toEnd = false } = {}) {
    const fromEnd = this.scroller.scrollHeight - this.scroller.scrollTop;
    const grewOnTop = this.ids.length > 0 && ids.length > this.ids.length && ids.at(-1) === this.ids.at(-1);
    this.ids = [...ids];
    const oldItems = this.items;
    this.items = new Map();
    this.ids.forEach((id, at) => {
      const around = this.around(at);
      const old = oldItems.get(id);
      const same = old && old.message === around.message && old.previous === around.previous && old.count === around.count;
      this.items.set(id, same || (old && id === this.editing) ? old : this.item(id, around));
    });
    place(this.list, [...this.items.values()].map((item) => item.node));
    this.pinned = toEnd || this.pinned;
    if (grewOnTop && !toEnd) this.scroller.scrollTop = this.scroller.scrollHeight - fromEnd;
    else this.keepToEnd();
  }

  /** What a message's node depends on. */
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
    const rule = count ? h("div", { class: "thread-rule" }, texts.replyCount(count)) : null;
    const day = newDay ? h("div", { class: "day" }, dayName(message.at)) : null;
    return { node: h("li", {}, day, node, rule), message, previous, count };
  }

  /** Rebuild the node of a message that changed, unless it is being edited. */
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

  /** The text of a running reply grew: draw it in the next frame. */
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
    const previous = this.editing;
    this.editing = id;
    for (const edited of [previous, id]) if (edited !== null) this.update(edited, { evenEdited: true });
  }

  keepToEnd() {
    if (this.pinned) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** Show an answer that only this person sees, until they dismiss it. */
  notice({ text, ok }) {
    const node = h("div", { class: `ephemeral ${ok ? "" : "bad"}`, role: "status" },
      h("div", { class: "inner" }, h("div", { class: "body" }, render(text)), h("div", { class: "only-you" }, texts.ONLY_YOU)),
      iconButton("close", texts.DISMISS, () => node.remove()));
    this.extra.append(node);
    this.pinned = true;
    this.keepToEnd();
  }

  clearNotices() {
    this.extra.replaceChildren();
  }
}

/** Make these nodes the children. Moves as few as possible: a moved node loses its focus. */
function place(parent, nodes) {
  const remaining = new Set(nodes);
  for (const child of [...parent.children]) if (!remaining.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
}

/** Replace only the blocks that changed, so that a selection in the others stays. */
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
