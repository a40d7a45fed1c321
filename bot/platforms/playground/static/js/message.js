// A message as a node. It is rebuilt when it changes; growing text replaces only its body.

import * as api from "./api.js";
import { confirmAction, showPicture } from "./dialogs.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { editor } from "./editor.js";
import { fileLabel } from "./files.js";
import { render } from "./markdown.js";
import { attempt } from "./tell.js";
import * as texts from "./texts.js";
import { clock, full } from "./time.js";

/** `context`: {state, openThread, inThread}. `joined`: the previous message has the same author. */
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
    { class: classes.join(" "), id: `m${message.id}${context.inThread ? "t" : ""}`, "aria-label": texts.messageLabel(state.name(message.author), clock(message.at)), dataset: { id: message.id, author: message.author, state: message.reply?.state ?? "" } },
    avatar(message.author, state.name(message.author)),
    h("div", { class: "content" }, byline(message, state), content, context.inThread ? null : summaryNode(message, context)),
    editing || message.removed ? null : actions(message, context, onEditEnd),
  );
}

/** The text; called in each frame while a reply grows. */
export function bodyNode(message) {
  if (message.removed) return h("div", { class: "body" }, texts.DELETED);
  return h("div", { class: "body" }, render(message.text));
}

function byline(message, state) {
  const person = state.people.get(message.author);
  const badge = message.author === "parley" ? texts.BOT : person?.admin ? texts.ADMIN : null;
  return h(
    "div",
    { class: "byline" },
    h("span", { class: "name" }, state.name(message.author)),
    badge && h("span", { class: "badge" }, badge),
    h("time", { datetime: message.at, title: full(message.at) }, clock(message.at)),
    message.edited && h("span", { class: "edited" }, texts.EDITED),
  );
}

function attached(message) {
  if (!message.uploads.length) return null;
  return h("div", { class: "pictures" }, message.uploads.map((upload) => {
    const url = api.uploadUrl(upload.id);
    if (!upload.picture) return h("a", { href: url, download: upload.name }, fileLabel(upload));
    const img = h("img", { src: url, alt: upload.name, width: upload.width, height: upload.height, loading: "lazy", decoding: "async" });
    return h("button", { type: "button", "aria-label": texts.viewFile(upload.name), onclick: () => showPicture(url, upload.name) }, img);
  }));
}

function status(message) {
  const reply = message.reply;
  if (!reply) return null;
  if (reply.state === "running") {
    if (message.text) return null;
    const text = reply.ahead > 0 ? texts.waiting(reply.ahead) : texts.THINKING;
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
    ? h("button", { type: "button", class: "stop", onclick: press(api.stop) }, icon("stop"), texts.STOP)
    : h("button", { type: "button", class: "redo", onclick: press(api.regenerate) }, icon("redo"), reply.state === "done" ? texts.REGENERATE : texts.TRY_AGAIN);
  return h("div", { class: "controls" }, button);
}

function summaryNode(message, { state, openThread }) {
  const summary = state.summaries.get(message.id);
  if (!summary?.replies) return null;
  const open = state.thread === message.id;
  const faces = summary.people.slice(0, 3).map((id) => avatar(id, state.name(id), "small"));
  const { last } = summary;
  const text = summary.running ? texts.WRITING : last ? texts.lastReply(last.name, last.text) : "";
  return h(
    "button",
    { type: "button", class: "summary", "aria-expanded": String(open), onclick: () => openThread(message.id) },
    h("span", { class: "faces" }, faces),
    h("span", { class: "count" }, texts.replyCount(summary.replies)),
    summary.running && h("span", { class: "pulse", "aria-hidden": "true" }),
    h("span", { class: "last" }, text),
  );
}

function actions(message, { state, openThread, inThread }, onEdit) {
  const own = message.author === state.me.id;
  const isChannel = state.channels.get(message.channel)?.kind === "channel";
  const buttons = [];
  if (!inThread && isChannel) buttons.push(iconButton("thread", texts.REPLY_IN_THREAD, () => openThread(message.id, { focus: true })));
  if (own) {
    buttons.push(iconButton("edit", texts.EDIT_MESSAGE, () => onEdit(message.id)));
    buttons.push(iconButton("trash", texts.DELETE_MESSAGE, () => confirmAction(
      { title: texts.DELETE_TITLE, text: texts.DELETE_WARNING, button: texts.DELETE },
      () => attempt(() => api.remove(message.id)),
    )));
  }
  return buttons.length ? h("div", { class: "actions" }, buttons) : null;
}
