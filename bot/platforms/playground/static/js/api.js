// The HTTP requests: every answer is JSON, every failure one sentence for the person.

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

async function ask(method, path, { json, body, query } = {}) {
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
    throw new Error("Parley can't be reached; is it still running?");
  }
  if (response.status === 401) location.reload();
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // No JSON: not one of ours, said below.
  }
  if (!response.ok || answer === null) {
    throw new Error(answer?.error ?? `Parley answered ${response.status}.`);
  }
  return answer;
}

export const addChannel = (name) => ask("POST", "channels", { json: { name } });
export const renameChannel = (id, name) => ask("PATCH", `channels/${id}`, { json: { name } });
export const write = (channel, message) => ask("POST", `channels/${channel}/messages`, { json: message });
export const edit = (id, text) => ask("PATCH", `messages/${id}`, { json: { text } });
export const remove = (id) => ask("DELETE", `messages/${id}`);
export const stop = (id) => ask("POST", `messages/${id}/stop`);
export const regenerate = (id) => ask("POST", `messages/${id}/regenerate`);
export const upload = (file) => ask("POST", "uploads", { body: file, query: { name: file.name } });
export const dropUpload = (id) => ask("DELETE", `uploads/${id}`);
export const complete = (text) => ask("GET", "complete", { query: { text } });
