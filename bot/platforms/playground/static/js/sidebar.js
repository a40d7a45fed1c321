// The left pane: channels, direct messages, and which model answers.

import * as api from "./api.js";
import { askName } from "./dialogs.js";
import { avatar, h, iconButton } from "./dom.js";
import * as texts from "./texts.js";

export class Sidebar {
  /** `openChannel(id)`. */
  constructor(state, node, openChannel) {
    this.state = state;
    this.openChannel = openChannel;
    this.channels = h("ul", { "aria-labelledby": "channels-title" });
    this.direct = h("ul", { "aria-labelledby": "direct-title" });
    this.about = h("p", { class: "about" });
    node.append(
      h("h1", { class: "brand" }, avatar("parley"), h("div", {}, texts.PARLEY, h("span", {}, texts.PLAYGROUND))),
      h("h2", {}, h("span", { id: "channels-title" }, texts.CHANNELS), iconButton("plus", texts.CREATE_CHANNEL, () => this.create())),
      this.channels,
      h("h2", {}, h("span", { id: "direct-title" }, texts.DIRECT_MESSAGES)),
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
    this.about.replaceChildren(texts.ANSWERED_BY, h("strong", {}, this.state.hello.model), texts.ON_THIS_MACHINE);
  }

  place(channel, working) {
    const here = channel.id === this.state.channel;
    const unread = !here && this.state.unread.has(channel.id);
    const dm = channel.kind === "dm";
    const classes = ["place", unread && "unread", working && "working"].filter(Boolean).join(" ");
    return h("button", { type: "button", class: classes, "aria-current": here ? "page" : null, dataset: { channel: channel.id }, onclick: () => this.openChannel(channel.id) },
      dm ? avatar("parley", texts.PARLEY, "small") : h("span", { class: "mark", "aria-hidden": "true" }, "#"),
      h("span", { class: "name" }, dm ? texts.PARLEY : channel.name),
      unread && h("span", { class: "visually-hidden" }, texts.UNREAD));
  }

  create() {
    askName({ title: texts.CREATE_CHANNEL, hint: texts.CREATE_HINT, value: "", button: texts.CREATE }, async (name) => {
      const { channel } = await api.addChannel(name);
      this.state.apply({ type: "channel", channel });
      this.openChannel(channel.id);
    });
  }
}
