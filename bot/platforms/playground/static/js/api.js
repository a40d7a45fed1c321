// The HTTP requests: every response is JSON, every failure one sentence for the person.

import * as texts from "./texts.js";

const BASE = "/playground/api";
let acting = "ana";

export function actAs(person) {
  acting = person;
}

export function uploadUrl(id) {
  return `${BASE}/uploads/${id}?as=${acting}`;
}

export function socketUrl() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${BASE}/socket?as=${acting}`;
}

async function request(method, path, { json, body, query } = {}) {
  const search = new URLSearchParams({ as: acting, ...query });
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(`${BASE}/${path}?${search}`, {
      method,
      headers,
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch {
    throw new Error(texts.UNREACHABLE);
  }
  if (response.status === 401) location.reload();
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // Not from our server; reported below.
  }
  if (!response.ok || answer === null) {
    throw new Error(answer?.error ?? texts.badStatus(response.status));
  }
  return answer;
}

export const addChannel = (name) => request("POST", "channels", { json: { name } });
export const renameChannel = (id, name) => request("PATCH", `channels/${id}`, { json: { name } });
export const write = (channel, message) => request("POST", `channels/${channel}/messages`, { json: message });
export const edit = (id, text) => request("PATCH", `messages/${id}`, { json: { text } });
export const remove = (id) => request("DELETE", `messages/${id}`);
export const stop = (id) => request("POST", `messages/${id}/stop`);
export const regenerate = (id) => request("POST", `messages/${id}/regenerate`);
export const upload = (file) => request("POST", "uploads", { body: file, query: { name: file.name } });
export const dropUpload = (id) => request("DELETE", `uploads/${id}`);
export const complete = (text) => request("GET", "complete", { query: { text } });
