// The files of a message that isn't sent yet: uploaded at once, shown small, removable.

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { fileLabel } from "./files.js";

export class Drafts {
  /** `onChange()`: added, ready or removed; `onProblem(text)`: one couldn't be taken. */
  constructor(state, onChange, onProblem) {
    this.state = state;
    this.onChange = onChange;
    this.onProblem = onProblem;
    this.drafts = [];
    this.node = h("div", { class: "drafts", hidden: true, role: "group", "aria-label": "Files to send" });
  }

  get ready() {
    return this.drafts.every((draft) => draft.id !== null);
  }

  get ids() {
    return this.drafts.map((draft) => draft.id);
  }

  async add(files) {
    const { uploads: most, upload_bytes: bytes } = this.state.hello.limits;
    for (const file of files) {
      if (this.drafts.length >= most) {
        this.onProblem(`At most ${most} files go into one message.`);
        return;
      }
      if (file.size > bytes) this.onProblem(`${file.name} is too large: at most ${Math.floor(bytes / 2 ** 20)} MB are taken.`);
      else await this.upload(file);
    }
  }

  async upload(file) {
    const draft = { id: null, url: URL.createObjectURL(file) };
    const remove = h("button", { type: "button", "aria-label": `Remove ${file.name}` }, icon("close"));
    const img = h("img", { src: draft.url, alt: file.name });
    // Whether it is a picture that we can draw, the server knows; until then the browser guesses.
    draft.node = h("div", { class: "draft loading", title: file.name }, file.type.startsWith("image/") ? img : fileLabel(file), remove);
    remove.addEventListener("click", () => this.remove(draft));
    this.drafts.push(draft);
    this.node.append(draft.node);
    this.changed();
    try {
      const { upload } = await api.upload(file);
      draft.id = upload.id;
      // What the server made of it is what will be sent (and is shown for formats we can't draw).
      if (upload.picture) img.src = api.uploadUrl(upload.id);
      draft.node.firstChild.replaceWith(upload.picture ? img : fileLabel(upload));
      draft.node.classList.remove("loading");
      if (!this.drafts.includes(draft)) api.dropUpload(upload.id).catch(() => {});
    } catch (error) {
      this.forget(draft);
      this.onProblem(error.message);
    }
    this.changed();
  }

  remove(draft) {
    this.forget(draft);
    if (draft.id !== null) api.dropUpload(draft.id).catch(() => {});
    this.changed();
  }

  forget(draft) {
    URL.revokeObjectURL(draft.url);
    draft.node.remove();
    this.drafts = this.drafts.filter((one) => one !== draft);
  }

  /** They were sent, or are somebody else's now. */
  clear() {
    for (const draft of [...this.drafts]) this.forget(draft);
    this.changed();
  }

  changed() {
    this.node.hidden = this.drafts.length === 0;
    this.onChange();
  }
}
