// The files of an unsent message: uploaded at once, shown small, removable.

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { fileLabel } from "./files.js";
import * as texts from "./texts.js";

export class Drafts {
  /** `onChange()`: a file was added, ready or removed; `onProblem(text)`: one was refused. */
  constructor(state, onChange, onProblem) {
    this.state = state;
    this.onChange = onChange;
    this.onProblem = onProblem;
    this.drafts = [];
    this.node = h("div", { class: "drafts", hidden: true, role: "group", "aria-label": texts.FILES_TO_SEND });
  }

  get ready() {
    return this.drafts.every((draft) => draft.id !== null);
  }

  get ids() {
    return this.drafts.map((draft) => draft.id);
  }

  async add(files) {
    const { uploads: maxFiles, upload_bytes: maxBytes } = this.state.hello.limits;
    for (const file of files) {
      if (this.drafts.length >= maxFiles) {
        this.onProblem(texts.tooManyFiles(maxFiles));
        return;
      }
      if (file.size > maxBytes) this.onProblem(texts.fileTooLarge(file.name, Math.floor(maxBytes / 2 ** 20)));
      else await this.upload(file);
    }
  }

  async upload(file) {
    const draft = { id: null, url: URL.createObjectURL(file) };
    const remove = h("button", { type: "button", "aria-label": texts.removeFile(file.name) }, icon("close"));
    const img = h("img", { src: draft.url, alt: file.name });
    // The browser guesses whether it is a picture until the server has decided.
    draft.node = h("div", { class: "draft loading", title: file.name }, file.type.startsWith("image/") ? img : fileLabel(file), remove);
    remove.addEventListener("click", () => this.remove(draft));
    this.drafts.push(draft);
    this.node.append(draft.node);
    this.changed();
    try {
      const { upload } = await api.upload(file);
      draft.id = upload.id;
      // Show the server's version: it is what will be sent, in a format that browsers can draw.
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
    this.drafts = this.drafts.filter((other) => other !== draft);
  }

  /** Forget all files, after they were sent or the person changed. */
  clear() {
    for (const draft of [...this.drafts]) this.forget(draft);
    this.changed();
  }

  changed() {
    this.node.hidden = this.drafts.length === 0;
    this.onChange();
  }
}
