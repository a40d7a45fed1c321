// The message box: text, files (button, paste, drop), completion.

import * as api from "./api.js";
import { Completion } from "./completion.js";
import { h, icon, iconButton } from "./dom.js";
import { Drafts } from "./drafts.js";
import * as texts from "./texts.js";

export class Composer {
  /** `place()`: {channel, thread}; `onSent(answer, text, place)`; `onEditLast()`: arrow up in an empty box. */
  constructor(state, pane, { place, onSent, onEditLast, label }) {
    this.state = state;
    this.place = place;
    this.onSent = onSent;
    this.onEditLast = onEditLast;
    this.unsent = new Map(); // place -> text typed there
    this.box = h("textarea", { rows: "1", "aria-label": label, autocomplete: "off" });
    this.problem = h("div", { class: "problem", role: "alert", hidden: true });
    this.drafts = new Drafts(state, () => this.changed(), (text) => this.complain(text));
    this.completion = new Completion(state, this.box, (text, cursor) => this.setText(text, cursor));
    this.send = h("button", { class: "send", "aria-label": texts.SEND, title: texts.SEND_TITLE, disabled: true }, icon("send"));
    this.ask = h("button", { type: "button", class: "ask", onclick: () => this.mention() }, texts.MENTION_PARLEY);
    this.form = h("form", { class: "composer" }, this.completion.node, this.problem,
      h("div", { class: "box" }, this.drafts.node, this.box, this.tools()));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.box.addEventListener("input", () => this.changed(true));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("blur", () => this.completion.close());
    this.box.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    this.acceptDrops(pane);
  }

  tools() {
    const file = h("input", { type: "file", multiple: true, class: "visually-hidden", tabindex: "-1", "aria-hidden": "true" });
    file.addEventListener("change", () => {
      this.drafts.add([...file.files]);
      file.value = "";
      this.box.focus();
    });
    const add = iconButton("image", texts.ADD_FILES, () => file.click());
    return h("div", { class: "tools" }, add, file, this.ask, h("span", { class: "spread" }),
      h("span", { class: "hint" }, h("kbd", {}, "/"), texts.COMMANDS_HINT), this.send);
  }

  acceptDrops(pane) {
    let depth = 0;
    const set = (value) => pane.classList.toggle("dropping", (depth = value) > 0);
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    pane.addEventListener("dragenter", (event) => hasFiles(event) && set(depth + 1));
    pane.addEventListener("dragleave", (event) => hasFiles(event) && set(Math.max(0, depth - 1)));
    pane.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    pane.addEventListener("drop", (event) => {
      set(0);
      this.take(event, event.dataTransfer);
    });
  }

  /** Take pasted or dropped files; leave other pastes to the browser. */
  take(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.drafts.add(files);
    this.box.focus();
  }

  key(event) {
    if (event.isComposing) return;
    if (this.completion.key(event)) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && this.box.value === "" && this.onEditLast()) {
      event.preventDefault();
    }
  }

  async submit() {
    const text = this.box.value.trim();
    if (this.send.disabled) return;
    this.complain("");
    const message = { text, ...this.place().thread === null ? {} : { thread: this.place().thread }, uploads: this.drafts.ids };
    const place = this.place();
    this.sending = true;
    this.changed();
    try {
      const answer = await api.write(place.channel, message);
      this.setText("");
      this.drafts.clear();
      this.onSent(answer, text, place);
    } catch (error) {
      this.complain(error.message);
    } finally {
      this.sending = false;
      this.changed();
    }
  }

  mention() {
    const text = this.box.value;
    if (/^@parley\b/i.test(text)) this.box.focus();
    else this.setText(`@Parley ${text}`);
  }

  setText(text, cursor = text.length) {
    this.box.value = text;
    this.changed(text !== "");
    this.box.focus();
    this.box.setSelectionRange(cursor, cursor);
  }

  changed(typed = false) {
    this.grow();
    const hasContent = this.box.value.trim() !== "" || this.drafts.drafts.length > 0;
    this.send.disabled = this.sending === true || !hasContent || !this.drafts.ready;
    if (typed) {
      this.complain("");
      this.completion.refresh();
    } else {
      this.completion.close();
    }
  }

  /** Fit the height to the text, in browsers without `field-sizing`. */
  grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight}px`;
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  /** Switch to another place; the text typed in the last one is kept for it. */
  moved(from, to, { placeholder, mention }) {
    if (from !== to) {
      if (from !== null) this.unsent.set(from, this.box.value);
      this.box.value = this.unsent.get(to) ?? "";
      for (const draft of [...this.drafts.drafts]) this.drafts.remove(draft);
      this.complain("");
      this.changed();
    }
    this.box.placeholder = placeholder;
    this.ask.hidden = !mention;
  }
}
