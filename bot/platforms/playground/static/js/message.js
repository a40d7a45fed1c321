// One message as a node; made anew when it changes, but for growing text only its body.

import * as api from "./api.js";
import { confirmThat, showPicture } from "./dialogs.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { editor } from "./editor.js";
import { fileLabel } from "./files.js";
import { render } from "./markdown.js";
import { attempt } from "./tell.js";
import { clock, full } from "./time.js";

/** `context`: {state, openThread, inThread}. `joined`: the message before is the same author's. */
export function messageNode(message, context, { joined, editing, onEditEnd }) {
  const { state } = context;
  const running = message.reply?.state === "running";
  const classes = ["message"];
  if (joined) classes.push("joined");
  if (running && message.text) classes.push("streaming");
  if (message.removed) classes.push("removed");
  const content = editing
    ? editor(message, state, onEditEnd)
    : [bodyNode(message), attached(message), status(message), controls(message, state)];
  return h(
    "article",
    { class: classes.join(" "), id: `m${message.id}${context.inThread ? "t" : ""}`, "aria-label": `${state.name(message.author)}, ${clock(message.at)}`, dataset: { id: message.id, author: message.author, state: message.reply?.state ?? "" } },
    avatar(message.author, state.name(message.author)),
    h("div", { class: "content" }, byline(message, state), content, context.inThread ? null : summaryNode(message, context)),
    editing || message.removed ? null : actions(message, context, onEditEnd),
  );
}

/** The text, for a growing reply called at each frame. */
export function bodyNode(message) {
  if (message.removed) return h("div", { class: "body" }, "This message was deleted.");
  return h("div", { class: "body" }, render(message.text));
}

function byline(message, state) {
  const person = state.people.get(message.author);
  const badge = message.author === "parley" ? "bot" : person?.admin ? "admin" : null;
  return h(
    "div",
    { class: "byline" },
    h("span", { class: "name" }, state.name(message.author)),
    badge && h("span", { class: "badge" }, badge),
    h("time", { datetime: message.at, title: full(message.at) }, clock(message.at)),
    message.edited && h("span", { class: "edited" }, "edited"),
  );
}

function attached(message) {
  if (!message.uploads.length) return null;
  return h("div", { class: "pictures" }, message.uploads.map((upload) => {
    const url = api.uploadUrl(upload.id);
    if (!upload.picture) return h("a", { href: url, download: upload.name }, fileLabel(upload));
    const img = h("img", { src: url, alt: upload.name, width: upload.width, height: upload.height, loading: "lazy", decoding: "async" });
    return h("button", { type: "button", "aria-label": `Show ${upload.name}`, onclick: () => showPicture(url, upload.name) }, img);
  }));
}

function status(message) {
  const reply = message.reply;
  if (!reply) return null;
  if (reply.state === "running") {
    if (message.text) return null;
    const text = reply.ahead > 0 ? `Waiting: ${reply.ahead} ${reply.ahead === 1 ? "other is" : "others are"} answered first` : "Thinking";
    return h("div", { class: "status" }, h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), text);
  }
  return [
    reply.error && h("div", { class: "failure" }, reply.error),
    reply.notes.length > 0 && h("ul", { class: "notes" }, reply.notes.map((note) => h("li", {}, note))),
  ];
}

function controls(message, state) {
  const reply = message.reply;
  if (!reply || !(state.me.admin || reply.asker === state.me.id)) return null;
  const press = (action) => async (event) => {
    event.currentTarget.disabled = true;
    const answer = await attempt(() => action(message.id));
    if (answer?.notice && !answer.notice.ok) state.emit("notice", { channel: message.channel, thread: message.thread, notice: answer.notice });
  };
  const button = reply.state === "running"
    ? h("button", { type: "button", class: "stop", onclick: press(api.stop) }, icon("stop"), "Stop")
    : h("button", { type: "button", class: "redo", onclick: press(api.regenerate) }, icon("redo"), reply.state === "done" ? "Regenerate" : "Try again");
  return h("div", { class: "controls" }, button);
}

function summaryNode(message, { state, openThread }) {
  const summary = state.summaries.get(message.id);
  if (!summary?.replies) return null;
  const open = state.thread === message.id;
  const faces = summary.people.slice(0, 3).map((id) => avatar(id, state.name(id), "small"));
  const { last } = summary;
  const text = summary.running ? "Parley is writing…" : last ? `${last.name}: ${last.text}` : "";
  return h(
    "button",
    { type: "button", class: "summary", "aria-expanded": String(open), onclick: () => openThread(message.id) },
    h("span", { class: "faces" }, faces),
    h("span", { class: "count" }, `${summary.replies} ${summary.replies === 1 ? "reply" : "replies"}`),
    summary.running && h("span", { class: "pulse", "aria-hidden": "true" }),
    h("span", { class: "last" }, text),
  );
}

function actions(message, { state, openThread, inThread }, onEdit) {
  const own = message.author === state.me.id;
  const isChannel = state.channels.get(message.channel)?.kind === "channel";
  const buttons = [];
  if (!inThread && isChannel) buttons.push(iconButton("thread", "Reply in thread", () => openThread(message.id, { focus: true })));
  if (own) {
    buttons.push(iconButton("edit", "Edit message", () => onEdit(message.id)));
    buttons.push(iconButton("trash", "Delete message", () => confirmThat(
      { title: "Delete this message?", text: "It is really deleted, and a reply that is being written to it is cancelled.", button: "Delete" },
      () => attempt(() => api.remove(message.id)),
    )));
  }
  return buttons.length ? h("div", { class: "actions" }, buttons) : null;
}
