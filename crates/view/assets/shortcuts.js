// Keys of one character that change the page (1 to 5, /). They can be switched off, because speech input and slips of the
// hand press them, too (WCAG 2.1.4); the browser remembers the choice.

import { element } from "./dom.js";

const KEY = "rlar-shortcuts";

/** Whether the keys do something. */
export function areShortcutsOn() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    // A browser that keeps nothing has the keys on.
    return true;
  }
}

/** A box that switches the keys on and off. */
export function shortcutChoice() {
  const change = (event) => {
    try {
      localStorage.setItem(KEY, event.target.checked ? "on" : "off");
    } catch {
      event.target.checked = true;
    }
  };
  const box = element("input", { type: "checkbox", checked: areShortcutsOn(), on: { change } });
  return element("label", {}, box, "Keys 1 to 5 and /");
}
