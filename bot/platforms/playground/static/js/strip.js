// The live strip: the batcher's activity, one lane per running conversation.

import { avatar, h, svg } from "./dom.js";
import * as texts from "./texts.js";

const POINTS = 60;

export class Strip {
  /** `go(channel, thread)`: a lane was clicked. */
  constructor(state, node, go) {
    this.state = state;
    this.go = go;
    this.history = [];
    this.lanes = new Map();
    this.rate = h("div", { class: "rate" });
    this.queue = h("div", { class: "queue" });
    this.line = svg("polyline", { points: "" });
    this.area = svg("polygon", { points: "" });
    const chart = svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", "aria-hidden": "true" }, this.area, this.line);
    this.track = h("div", { class: "lanes" });
    node.append(h("div", { class: "gauge" }, this.rate, this.queue, chart), this.track);
    this.last = null;
    setInterval(() => this.last && !document.hidden && this.plot(), 500);
  }

  show(pulse) {
    this.last = pulse;
    this.rate.replaceChildren(pulse.rate >= 100 ? String(Math.round(pulse.rate)) : pulse.rate.toFixed(1), h("small", {}, texts.TOKENS_PER_SECOND));
    const idle = pulse.ready ? texts.IDLE : texts.LOADING;
    const count = pulse.running.length;
    const parts = [count ? texts.running(count) : idle];
    if (pulse.waiting) parts.push(texts.queued(pulse.waiting));
    this.queue.textContent = parts.join(" · ");
    this.showLanes(pulse.running, pulse.ready);
  }

  showLanes(running, ready) {
    const seen = new Set();
    this.track.querySelector(".idle")?.remove();
    for (const lane of running) {
      seen.add(lane.key);
      const old = this.lanes.get(lane.key);
      if (old) update(old, lane);
      else this.add(lane);
    }
    for (const [key, node] of this.lanes) {
      if (seen.has(key)) continue;
      node.remove();
      this.lanes.delete(key);
    }
    if (!running.length) {
      this.track.append(h("p", { class: "idle" }, ready ? texts.STRIP_IDLE : texts.STRIP_LOADING));
    }
  }

  add(lane) {
    const channel = this.state.channels.get(lane.channel);
    const visible = channel !== undefined;
    const place = channel?.kind === "channel" ? `#${channel.name}` : lane.platform === "playground" ? texts.DIRECT : lane.platform;
    const label = texts.laneLabel(lane.name, place);
    const node = h(visible ? "button" : "div", { class: "lane", title: label, type: visible ? "button" : null },
      h("span", { class: "head" }, avatar(lane.owner, lane.name), h("span", { class: "label" }, label), h("span", { class: "count" })),
      h("span", { class: "bar" }, h("span", { class: "fill" })));
    if (visible) node.addEventListener("click", () => this.go(lane.channel, lane.thread));
    update(node, lane);
    this.lanes.set(lane.key, node);
    this.track.append(node);
  }

  plot() {
    this.history.push(this.last.rate);
    if (this.history.length > POINTS) this.history.shift();
    const top = Math.max(10, ...this.history);
    const step = 100 / (POINTS - 1);
    const offset = 100 - step * (this.history.length - 1);
    const points = this.history.map((rate, at) => `${(offset + at * step).toFixed(1)},${(38 - (rate / top) * 36).toFixed(1)}`);
    this.line.setAttribute("points", points.join(" "));
    this.area.setAttribute("points", `${offset.toFixed(1)},39 ${points.join(" ")} 100,39`);
  }
}

function update(node, lane) {
  const prefill = lane.phase === "prefill";
  const share = prefill ? lane.prefilled / Math.max(1, lane.prompt) : lane.generated / Math.max(1, lane.max);
  node.classList.toggle("prefill", prefill);
  node.querySelector(".fill").style.width = `${Math.min(100, Math.max(3, share * 100))}%`;
  node.querySelector(".count").textContent = prefill ? texts.reading(lane.prefilled, lane.prompt) : texts.tokens(lane.generated);
}
