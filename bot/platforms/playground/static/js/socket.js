// The tab's WebSocket: it reconnects by itself, waiting longer each time.

import { socketUrl } from "./api.js";

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8000;

export class Socket {
  /** `onEvents(events)`: events arrived; `onState(connected)`: the connection opened or closed. */
  constructor(onEvents, onState) {
    this.onEvents = onEvents;
    this.onState = onState;
    this.wait = FIRST_WAIT_MS;
    this.socket = null;
    this.timer = 0;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retryNow();
    });
  }

  /** Connect, or reconnect as another person. */
  open() {
    clearTimeout(this.timer);
    this.timer = 0;
    const old = this.socket;
    const socket = new WebSocket(socketUrl());
    this.socket = socket;
    old?.close();
    socket.onmessage = (message) => {
      if (this.socket !== socket) return;
      this.wait = FIRST_WAIT_MS;
      this.onEvents(JSON.parse(message.data));
    };
    socket.onopen = () => this.socket === socket && this.onState(true);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.onState(false);
      this.timer = setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
    };
  }

  retryNow() {
    if (this.timer) this.open();
  }

  /** Request a page or a thread. Dropped while disconnected: the next hello requests them again. */
  ask(request) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(request));
  }
}
