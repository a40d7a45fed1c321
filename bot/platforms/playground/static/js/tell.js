// Says things: a passing line on the screen, or a word to screen readers only.

import { h } from "./dom.js";

export function toast(text) {
  const node = h("div", { class: "toast" }, text);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), 2500 + text.length * 45);
}

export function announce(text) {
  const place = document.getElementById("announcer");
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 60);
}

/** Run an action; what goes wrong is said in a toast. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message);
    return null;
  }
}
