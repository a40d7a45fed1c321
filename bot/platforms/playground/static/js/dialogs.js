// The dialogs: a name, a confirmation, a large picture.

import { h } from "./dom.js";
import * as texts from "./texts.js";

function show(dialog) {
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}

/** Ask for a name. What `save(name)` throws is shown in the dialog. */
export function askName({ title, hint, value, button }, save) {
  const input = h("input", { "aria-label": texts.NAME, value, maxlength: "60", autocomplete: "off", spellcheck: "false" });
  const problem = h("p", { class: "problem", role: "alert" });
  const cancel = h("button", { type: "button", class: "button" }, texts.CANCEL);
  const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("p", {}, hint), input, problem, h("div", { class: "buttons" }, cancel, h("button", { class: "button primary" }, button)));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  cancel.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await save(input.value);
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      input.focus();
    }
  });
  show(dialog);
  input.select();
}

/** Run `action` after a confirmation. */
export function confirmAction({ title, text, button }, action) {
  const cancel = h("button", { type: "button", class: "button", autofocus: true }, texts.CANCEL);
  const confirm = h("button", { type: "button", class: "button danger" }, button);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, h("h2", { id: "dialog-title" }, title), h("p", {}, text), h("div", { class: "buttons" }, cancel, confirm));
  cancel.addEventListener("click", () => dialog.close());
  confirm.addEventListener("click", () => {
    dialog.close();
    action();
  });
  show(dialog);
}

/** A picture as large as the window allows; a click or Esc closes it. */
export function showPicture(url, name) {
  const dialog = h("dialog", { class: "lightbox", "aria-label": name }, h("img", { src: url, alt: name }));
  dialog.addEventListener("click", () => dialog.close());
  show(dialog);
}
