// The label of a file that is not a picture: an icon, its name and its size.

import { h, icon } from "./dom.js";
import * as texts from "./texts.js";

/** `file`: {name, size} with the size in bytes. */
export function fileLabel(file) {
  return h("span", { class: "file" }, icon("file"), h("span", { class: "name" }, file.name), h("span", { class: "size" }, size(file.size)));
}

function size(bytes) {
  if (bytes < 1000) return texts.bytes(bytes);
  return bytes < 1e6 ? texts.kilobytes(Math.round(bytes / 1000)) : texts.megabytes((bytes / 1e6).toFixed(1));
}
