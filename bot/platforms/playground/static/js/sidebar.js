// The left: channels, direct messages, and what is running underneath.

import * as api from "./api.js";
import { askName } from "./dialogs.js";
import { avatar, h, iconButton } from "./dom.js";

export class Sidebar {
  /** `openChannel(id)`. */
  constructor(state, node, openChannel) {
    this.state = state;
    this.openChannel = openChannel;
    this.channels = h("ul", { "aria-labelledby": "channels-title" });
    this.direct = h("ul", { "aria-labelledby": "direct-title" });
    this.about = h("p", { class: "about" });
    node.append(
      h("h1", { class: "brand" }, avatar("parley"), h("div", {}, "Parley", h("span", {}, "playground"))),
      h("h2", {}, h("span", { id: "channels-title" }, "Channels"), iconButton("plus", "Create a channel", () => this.create())),
      this.channels,
      h("h2", {}, h("span", { id: "direct-title" }, "Direct messages")),
      this.direct,
      this.about,
    );
  }

  show() {
    const all = [...this.state.channels.values()];
    const working = new Set(this.state.working.values());
    const item = (channel) => h("li", {}, this.place(channel, working.has(channel.id)));
    const focused = document.activeElement?.dataset?.channel;
    this.channels.replaceChildren(...all.filter((c) => c.kind === "channel").map(item));
    this.direct.replaceChildren(...all.filter((c) => c.kind === "dm").map(item));
    if (focused) document.querySelector(`.place[data-channel="${focused}"]`)?.focus();
    this.about.replaceChildren("Answers come from", h("strong", {}, this.state.hello.model), "on this machine, for everybody at once.");
  }

  place(channel, working) {
    const here = channel.id === this.state.channel;
    const unread = !here && this.state.unread.has(channel.id);
    const dm = channel.kind === "dm";
    const classes = ["place", unread && "unread", working && "working"].filter(Boolean).join(" ");
    return h("button", { type: "button", class: classes, "aria-current": here ? "page" : null, dataset: { channel: channel.id }, onclick: () => this.openChannel(channel.id) },
      dm ? avatar("parley", "Parley", "small") : h("span", { class: "mark", "aria-hidden": "true" }, "#"),
      h("span", { class: "name" }, dm ? "Parley" : channel.name),
      unread && h("span", { class: "visually-hidden" }, "unread"));
  }

  create() {
    askName({ title: "Create a channel", hint: "Each channel can have a persona of its own.", value: "", button: "Create" }, async (name) => {
      const { channel } = await api.addChannel(name);
      this.state.apply({ type: "channel", channel });
      this.openChannel(channel.id);
    });
  }
}
