// Chooses the person that this tab acts as.

import { avatar, h } from "./dom.js";
import * as texts from "./texts.js";

export function showSwitcher(form, state, onSwitch) {
  const choices = state.hello.people.flatMap((person) => {
    const input = h("input", { type: "radio", name: "person", class: "visually-hidden", id: `as-${person.id}`, value: person.id, checked: person.id === state.me.id });
    input.addEventListener("change", () => onSwitch(person.id));
    const label = h("label", { for: input.id, title: texts.actAs(person.name, person.admin) },
      avatar(person.id, person.name),
      h("span", { class: "who" }, person.name, h("small", {}, person.admin ? texts.ADMIN : texts.MEMBER)));
    return [input, label];
  });
  form.replaceChildren(h("fieldset", {}, h("legend", { class: "visually-hidden" }, texts.ACT_AS), h("span", { class: "caption", "aria-hidden": "true" }, texts.ACTING_AS), h("div", { class: "choices" }, choices)));
}
