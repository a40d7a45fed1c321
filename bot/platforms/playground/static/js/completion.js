// The list above a message box: people after "@", commands after "/".

import * as api from "./api.js";
import { avatar, h } from "./dom.js";
import * as texts from "./texts.js";

let counter = 0;

export class Completion {
  /** `onPick(text, cursor)`: the box's text with the choice, and the position to continue at. */
  constructor(state, box, onPick) {
    this.state = state;
    this.box = box;
    this.onPick = onPick;
    this.items = [];
    this.active = 0;
    this.latestRequest = 0;
    this.id = `completions${(counter += 1)}`;
    this.node = h("ul", { class: "completions", role: "listbox", id: this.id, "aria-label": texts.SUGGESTIONS, hidden: true });
    box.setAttribute("aria-autocomplete", "list");
    box.setAttribute("aria-controls", this.id);
  }

  get open() {
    return !this.node.hidden;
  }

  /** Update the list after the box changed. */
  async refresh() {
    const request = (this.latestRequest += 1);
    const text = this.box.value;
    const items = text.startsWith("/") ? await this.commands(text) : this.people(text);
    if (request === this.latestRequest) this.show(items);
  }

  async commands(text) {
    if (text.includes("\n")) return [];
    try {
      const { completions } = await api.complete(text);
      return completions.map(({ text: line, help }) => ({
        kind: "command", label: line.trim(), help, text: line, cursor: line.length,
      }));
    } catch {
      return [];
    }
  }

  people(text) {
    const cursor = this.box.selectionStart;
    const match = text.slice(0, cursor).match(/(?:^|[\s(])@([\w]*)$/);
    if (!match) return [];
    const typed = match[1].toLowerCase();
    const start = cursor - match[1].length - 1;
    const everybody = [this.state.hello.bot, ...this.state.hello.people.filter((p) => p.id !== this.state.me.id)];
    return everybody
      .filter((person) => person.name.toLowerCase().startsWith(typed))
      .map((person) => {
        const head = `${text.slice(0, start)}@${person.name} `;
        return { kind: "person", id: person.id, label: person.name, help: person.id === "parley" ? texts.ASK_PARLEY : "", text: head + text.slice(cursor).trimStart(), cursor: head.length };
      });
  }

  show(items) {
    this.items = items;
    this.active = 0;
    this.node.hidden = items.length === 0;
    this.node.replaceChildren(...items.map((item, at) => this.option(item, at)));
    this.mark();
  }

  option(item, at) {
    const node = h("li", { role: "option", id: `${this.id}-${at}`, class: item.kind },
      item.kind === "person" ? avatar(item.id, item.label, "small") : null,
      h("span", { class: "what" }, item.label), h("span", { class: "help" }, item.help));
    node.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.pick(at);
    });
    return node;
  }

  mark() {
    [...this.node.children].forEach((node, at) => node.setAttribute("aria-selected", String(at === this.active)));
    if (this.open) {
      this.box.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
      this.node.children[this.active]?.scrollIntoView({ block: "nearest" });
    } else {
      this.box.removeAttribute("aria-activedescendant");
    }
  }

  pick(at = this.active) {
    const item = this.items[at];
    this.close();
    this.onPick(item.text, item.cursor);
  }

  close() {
    this.latestRequest += 1;
    if (this.open) this.show([]);
  }

  /** Handle a key. Returns whether the list used it. */
  key(event) {
    if (!this.open) return false;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.active = (this.active + step + this.items.length) % this.items.length;
      this.mark();
      return true;
    }
    if (event.key === "Escape") {
      this.close();
      return true;
    }
    if (event.key === "Tab" && !event.shiftKey) {
      this.pick();
      return true;
    }
    if (event.key === "Enter" && !event.shiftKey) {
      // A suggestion that is typed in full: Enter sends it.
      if (this.items.some((item) => item.text.trim() === this.box.value.trim())) return this.close() ?? false;
      this.pick();
      return true;
    }
    return false;
  }
}
