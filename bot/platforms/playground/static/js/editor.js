// The box in place of a message that is being edited.

import * as api from "./api.js";
import { h } from "./dom.js";
import { attempt } from "./tell.js";
import * as texts from "./texts.js";

/** `onEnd(id)`: the edit was saved or canceled. */
export function editor(message, state, onEnd) {
  const box = h("textarea", { "aria-label": texts.EDIT_BOX, rows: "1", value: message.text });
  const end = () => onEnd(message.id);
  const save = async () => {
    if (box.value.trim() === message.text) return end();
    const answer = await attempt(() => api.edit(message.id, box.value));
    if (!answer) return;
    end();
    if (answer.notice) state.emit("notice", { channel: message.channel, thread: message.thread, notice: answer.notice });
  };
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      end();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      save();
    }
  });
  requestAnimationFrame(() => {
    box.focus();
    box.setSelectionRange(box.value.length, box.value.length);
  });
  return h("div", { class: "editor" }, box, h("div", { class: "buttons" },
    h("button", { type: "button", class: "button primary", onclick: save }, texts.SAVE),
    h("button", { type: "button", class: "button", onclick: end }, texts.CANCEL),
    h("span", {}, texts.EDIT_HINT)));
}
