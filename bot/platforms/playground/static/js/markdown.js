// Markdown as DOM nodes, built from marked's tokens: HTML in a message stays text.

import { Lexer } from "../vendor/marked.esm.js";
import { h } from "./dom.js";
import * as texts from "./texts.js";

const OPTIONS = { gfm: true, breaks: true };
const MAX_DEPTH = 24;
const MENTION = /(?<![\w@/.-])@(parley|ana|ben|chloe|dev|everyone|here|channel)(?![\w-])(?!\.\w)/gi;

/** The nodes of a message. Text that can't be parsed is shown as written. */
export function render(text) {
  try {
    return blocks(new Lexer(OPTIONS).lex(text), 0);
  } catch {
    return [h("p", {}, text)];
  }
}

function blocks(tokens, depth) {
  return tokens.flatMap((token) => block(token, depth));
}

function block(token, depth) {
  if (depth > MAX_DEPTH) return [h("p", {}, token.raw)];
  switch (token.type) {
    case "space":
      return [];
    case "heading":
      return [h(`h${Math.min(5, token.depth + 2)}`, {}, inlines(token.tokens, depth))];
    case "paragraph":
      return [h("p", {}, inlines(token.tokens, depth))];
    case "text":
      return token.tokens ? inlines(token.tokens, depth) : mentions(token.text);
    case "code":
      return [codeBlock(token)];
    case "blockquote":
      return [h("blockquote", {}, blocks(token.tokens, depth + 1))];
    case "list":
      return [list(token, depth)];
    case "table":
      return [table(token, depth)];
    case "hr":
      return [h("hr")];
    case "html":
    case "def":
      return token.raw.trim() ? [h("p", {}, token.raw.trimEnd())] : [];
    default:
      return inline(token, depth);
  }
}

function codeBlock(token) {
  const copy = h("button", { type: "button" }, texts.COPY);
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(token.text);
    copy.textContent = texts.COPIED;
    setTimeout(() => (copy.textContent = texts.COPY), 1500);
  });
  const language = (token.lang ?? "").split(/\s/)[0].slice(0, 30);
  return h("div", { class: "code" }, h("header", {}, h("span", {}, language || texts.CODE), copy), h("pre", { tabindex: "0" }, h("code", {}, token.text)));
}

function list(token, depth) {
  const items = token.items.map((item) => {
    const box = item.task ? h("input", { type: "checkbox", disabled: true, checked: item.checked, "aria-label": item.checked ? texts.DONE : texts.TO_DO }) : null;
    const content = item.tokens.filter((part) => part.type !== "checkbox");
    return h("li", {}, box, blocks(content, depth + 1));
  });
  const start = token.ordered && token.start !== 1 ? token.start : undefined;
  return h(token.ordered ? "ol" : "ul", { start }, items);
}

function table(token, depth) {
  const cell = (tag) => (content, column) => {
    const align = token.align[column];
    return h(tag, { class: align === "right" || align === "center" ? align : "" }, inlines(content.tokens, depth));
  };
  const head = h("thead", {}, h("tr", {}, token.header.map(cell("th"))));
  const rows = token.rows.map((row) => h("tr", {}, row.map(cell("td"))));
  return h("div", { class: "table" }, h("table", {}, head, h("tbody", {}, rows)));
}

function inlines(tokens, depth) {
  return (tokens ?? []).flatMap((token) => inline(token, depth + 1));
}

function inline(token, depth) {
  if (depth > MAX_DEPTH) return [token.raw];
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return [h(token.type, {}, inlines(token.tokens, depth))];
    case "codespan":
      return [h("code", {}, token.text)];
    case "br":
      return [h("br")];
    case "link":
      return [link(token.href, inlines(token.tokens, depth), token.raw)];
    case "image":
      return [link(token.href, [token.text || texts.PICTURE], token.raw)];
    case "escape":
      return [token.text];
    case "text":
      return token.tokens ? inlines(token.tokens, depth) : mentions(token.text);
    default:
      return [token.raw];
  }
}

/** A link to the web or to mail; any other scheme (javascript:, data:, file:) stays text. */
function link(href, content, raw) {
  let url;
  try {
    url = new URL(href);
  } catch {
    return raw;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return raw;
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", title: url.href }, content);
}

function mentions(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(MENTION)) {
    if (match.index > at) nodes.push(text.slice(at, match.index));
    nodes.push(h("span", { class: "mention" }, match[0]));
    at = match.index + match[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}
