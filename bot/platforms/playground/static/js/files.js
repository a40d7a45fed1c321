// How a file that is no picture looks: an icon, its name and its size.

import { h, icon } from "./dom.js";

/** `file`: {name, size} with the size in bytes. */
export function fileLabel(file) {
  return h("span", { class: "file" }, icon("file"), h("span", { class: "name" }, file.name), h("span", { class: "size" }, size(file.size)));
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
