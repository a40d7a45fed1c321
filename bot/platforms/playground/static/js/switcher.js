// Who this tab acts as.

import { avatar, h } from "./dom.js";

export function showSwitcher(form, state, onSwitch) {
  const choices = state.hello.people.flatMap((person) => {
    const input = h("input", { type: "radio", name: "person", class: "visually-hidden", id: `as-${person.id}`, value: person.id, checked: person.id === state.me.id });
    input.addEventListener("change", () => onSwitch(person.id));
    const label = h("label", { for: input.id, title: `Act as ${person.name}${person.admin ? " (admin)" : ""}` },
      avatar(person.id, person.name),
      h("span", { class: "who" }, person.name, h("small", {}, person.admin ? "admin" : "member")));
    return [input, label];
  });
  form.replaceChildren(h("fieldset", {}, h("legend", { class: "visually-hidden" }, "Act as"), h("span", { class: "caption", "aria-hidden": "true" }, "Acting as"), h("div", { class: "choices" }, choices)));
}
