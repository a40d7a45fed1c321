// Times as people read them.

import * as texts from "./texts.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

export const clock = (iso) => CLOCK.format(new Date(iso));
export const full = (iso) => FULL.format(new Date(iso));

export function dayOf(iso) {
  return new Date(iso).toDateString();
}

export function dayName(iso) {
  const date = new Date(iso);
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 864e5);
  if (days === 0) return texts.TODAY;
  return days === 1 ? texts.YESTERDAY : DAY.format(date);
}
