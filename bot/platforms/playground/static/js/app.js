// Assembles the page: the socket feeds the state, the panes follow it, the URL keeps the place.

import { actAs } from "./api.js";
import { ChannelPane } from "./channel.js";
import { icon } from "./dom.js";
import { Sidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { State } from "./state.js";
import { Strip } from "./strip.js";
import { showSwitcher } from "./switcher.js";
import { announce, toast } from "./tell.js";
import * as texts from "./texts.js";
import { ThreadPane } from "./thread.js";

const PERSON = "parley-person";
const byId = (id) => document.getElementById(id);

const state = new State();
const app = byId("app");
const socket = new Socket((events) => events.forEach((event) => state.apply(event)), connected);
const sidebar = new Sidebar(state, byId("sidebar"), (id) => openChannel(id, { focus: true }));
const channel = new ChannelPane(state, byId("main"), { openThread, ask: (request) => socket.ask(request) });
const thread = new ThreadPane(state, byId("thread"), closeThread);
const strip = new Strip(state, byId("strip"), (id, root) => {
  openChannel(id);
  if (root !== null) openThread(root);
});

let offlineTimer = 0;
function connected(up) {
  clearTimeout(offlineTimer);
  if (up) byId("offline").hidden = true;
  else offlineTimer = setTimeout(() => (byId("offline").hidden = false), 800);
}

// --- the place, kept in the URL so that a reload returns to it

function readAddress() {
  const match = location.hash.match(/^#\/(\d+)(?:\/(\d+))?$/);
  return match ? { channel: Number(match[1]), thread: match[2] ? Number(match[2]) : null } : { channel: null, thread: null };
}

function writeAddress() {
  const hash = `#/${state.channel}${state.thread === null ? "" : `/${state.thread}`}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

function openChannel(id, { focus = false } = {}) {
  menu(false);
  if (!state.channels.has(id)) return;
  if (id !== state.channel) {
    state.channel = id;
    state.thread = null;
  }
  state.unread.delete(id);
  socket.ask({ type: "page", id });
  showAll();
  if (focus) channel.composer.box.focus();
}

function openThread(root, { focus = false } = {}) {
  state.thread = root;
  socket.ask({ type: "thread", id: root });
  showAll();
  if (focus) thread.composer.box.focus();
}

function closeThread() {
  const root = state.thread;
  state.thread = null;
  showAll();
  document.querySelector(`#m${root} .summary`)?.focus();
}

function showAll() {
  app.classList.toggle("with-thread", state.thread !== null);
  channel.open({ toEnd: channel.list.ids.length === 0 });
  thread.open();
  sidebar.show();
  writeAddress();
}

// --- the server's events

state.on("hello", () => {
  const address = readAddress();
  const channelId = state.channel ?? address.channel;
  const threadId = state.channel === null ? address.thread : state.thread;
  const exists = state.channels.has(channelId);
  state.channel = exists ? channelId : fallbackChannel();
  state.thread = exists ? threadId : null;
  socket.ask({ type: "page", id: state.channel });
  if (state.thread !== null) socket.ask({ type: "thread", id: state.thread });
  showSwitcher(byId("switcher"), state, switchTo);
  showAll();
});

/** After a switch of the person from their direct messages, the new person's; else the first channel. */
function fallbackChannel() {
  const all = [...state.channels.values()];
  const wasDirect = state.channel !== null;
  return (all.find((c) => c.kind === (wasDirect ? "dm" : "channel")) ?? all[0]).id;
}

state.on("page", ({ channel: id, earlier }) => {
  if (id === state.channel) channel.show({ toEnd: !earlier && channel.list.pinned });
});
state.on("thread", ({ root }) => {
  if (root === state.thread) thread.open();
});
state.on("channels", () => sidebar.show());
state.on("renamed", () => showAll());
state.on("message", ({ message, added, finished }) => {
  if (message.channel === state.channel) {
    if (added && message.thread === null) channel.show();
    else channel.list.update(message.id);
  }
  if (state.thread !== null && (message.thread === state.thread || message.id === state.thread)) {
    if (added) thread.show();
    else thread.list.update(message.id);
  }
  const visible = message.thread === null ? message.channel === state.channel : message.thread === state.thread;
  if (finished && visible) announce(texts.announcement(message.reply.error ?? message.text));
});
state.on("summary", ({ root, channel: id }) => {
  if (id === state.channel) channel.list.update(root);
});
state.on("delta", ({ message }) => {
  channel.list.grow(message.id);
  thread.list.grow(message.id);
});
state.on("gap", ({ message }) => {
  // A delta was missed, so load the place again.
  if (message.thread === null) socket.ask({ type: "page", id: message.channel });
  else if (message.thread === state.thread) socket.ask({ type: "thread", id: message.thread });
});
state.on("removed", ({ id, channel: where, thread: root }) => {
  if (id === state.thread) closeThread();
  if (where === state.channel && root === null) channel.show();
  if (root !== null && root === state.thread) thread.show();
});
state.on("notice", ({ channel: id, thread: root, notice }) => {
  const pane = root === null ? channel : thread;
  if (id === state.channel && (root === null || root === state.thread)) pane.list.notice(notice);
});
state.on("refused", ({ error }) => toast(error));
state.on("pulse", (pulse) => strip.show(pulse));

// --- the person, and the menu of narrow screens

function switchTo(person) {
  sessionStorage.setItem(PERSON, person);
  actAs(person);
  channel.composer.drafts.clear();
  thread.composer.drafts.clear();
  state.unread.clear();
  socket.open();
}

function menu(open) {
  app.classList.toggle("menu-open", open);
  byId("menu").setAttribute("aria-expanded", String(open));
}

byId("menu").append(icon("menu"));
byId("menu").addEventListener("click", (event) => {
  event.stopPropagation();
  menu(!app.classList.contains("menu-open"));
  document.querySelector(".place[aria-current]")?.focus();
});
app.addEventListener("click", (event) => {
  if (app.classList.contains("menu-open") && !byId("sidebar").contains(event.target)) menu(false);
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (app.classList.contains("menu-open")) menu(false);
  else if (state.thread !== null) closeThread();
});
addEventListener("hashchange", () => {
  const address = readAddress();
  if (!state.hello || !state.channels.has(address.channel)) return;
  openChannel(address.channel);
  if (address.thread !== null) openThread(address.thread);
});

actAs(sessionStorage.getItem(PERSON) ?? "ana");
socket.open();
