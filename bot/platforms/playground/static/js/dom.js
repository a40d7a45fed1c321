// Helpers that make DOM nodes; text is always text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  bubble: "M5 6.5A2.5 2.5 0 0 1 7.5 4h9A2.5 2.5 0 0 1 19 6.5v7a2.5 2.5 0 0 1-2.5 2.5H11l-4 3.5V16A2.5 2.5 0 0 1 5 13.5zM9 10h.01M12 10h.01M15 10h.01",
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  back: "M15 5l-7 7 7 7",
  edit: "M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19zM14.5 6.5l3 3",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  thread: "M5 6h14v9h-7l-4 4v-4H5zM9 10.5h6",
  image: "M4 5.5h16v13H4zM4 16l4.5-4.5 4 4 3-3L20 17M15.5 9.5h.01",
  file: "M6.5 3.5h7l4 4v13h-11zM13.5 3.5v4h4M9.5 12h5M9.5 15.5h5",
  send: "M4.5 12L20 4.5 15.5 20l-3.5-6.5zM12 13.5l3.5-4.5",
  stop: "M7 7h10v10H7z",
  redo: "M19 12a7 7 0 1 1-2.1-5M19 4v4h-4",
  info: "M12 11v5M12 8h.01M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  arrow: "M5 12h13M13 7l5 5-5 5",
};

/** An element: h("button", {class: "x", onclick: f, "aria-label": "…"}, "text", node, …). */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node && typeof value === "boolean") node[name] = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** An SVG element. */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A line icon, hidden from screen readers. */
export function icon(name) {
  const path = svg("path", {
    d: ICONS[name],
    fill: name === "stop" ? "currentColor" : "none",
    stroke: "currentColor",
    "stroke-width": "1.8",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, path);
}

/** A button with an icon and no text. */
export function iconButton(name, label, onclick, extra = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...extra }, icon(name));
}

/** The square with a person's initial, or with Parley's bubble. */
export function avatar(id, name, extra = "") {
  const face = id === "parley" ? icon("bubble") : (name || "?").slice(0, 1).toUpperCase();
  const color = ["ana", "ben", "chloe", "dev", "parley"].includes(id) ? id : "";
  return h("span", { class: `avatar ${color} ${extra}`, "aria-hidden": "true" }, face);
}
