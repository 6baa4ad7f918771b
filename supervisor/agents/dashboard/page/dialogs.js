// Questions before something is done, and the answers to it. A modal <dialog> keeps the focus inside
// and gives it back; Escape is its Cancel.

import { act, ask } from "./store.js";
import { byId, el, setText } from "./dom.js";

const TITLES = { start: "Start", stop: "Stop", restart: "Restart", reload: "Reload" };
const TEXTS = {
  start: "What it needs is started with it.",
  stop: "All of its processes end, and it stays down until somebody starts it.",
  restart: "All of its processes end, then it is started again. Its sockets stay open meanwhile.",
  reload: "It reads its configuration again, as its unit file says.",
};
const TOAST_MS = 8000;

function toast(text, bad) {
  const one = el("p", { class: bad ? "bad" : "" }, text);
  byId("toasts").append(one);
  setTimeout(() => one.remove(), bad ? 2 * TOAST_MS : TOAST_MS);
}

// What stops with it: units that cannot run without it, and those that cannot run without these.
function dependents(relations, unit) {
  const found = new Set();
  const look = [unit];
  while (look.length) {
    const name = look.pop();
    for (const one of relations) {
      if (one.target === name && ["requires", "binds_to"].includes(one.kind) && !found.has(one.unit) && one.unit !== unit) {
        found.add(one.unit);
        look.push(one.unit);
      }
    }
  }
  return [...found].sort();
}

// The event comes a little after the dialog has closed: the next question may be open by then, and
// the answer to the one before is no answer to it.
let settle = () => {};

function answered(dialog) {
  settle("");
  dialog.onclose = () => {
    if (!dialog.open) settle(dialog.returnValue);
  };
  return new Promise((resolve) => { settle = resolve; });
}

export async function operate(action, row) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), `${TITLES[action]} ${row.key}?`);
  setText(byId("confirm-text"), TEXTS[action]);
  setText(byId("confirm-more"), "");
  setText(byId("confirm-yes"), TITLES[action]);
  dialog.returnValue = "";
  dialog.showModal();
  byId("confirm-no").focus();
  if (action === "stop" || action === "restart") {
    ask("/relations").then(({ relations }) => {
      const names = dependents(relations, row.unit);
      if (names.length) setText(byId("confirm-more"), `Needed by: ${names.join(", ")}.`);
    }).catch(() => setText(byId("confirm-more"), "What needs it is not known at the moment."));
  }
  if (await answered(dialog) !== "yes") return;
  try {
    toast(await act(action, row.key), false);
  } catch (error) {
    toast(error.message, true);
  }
}

export function help() {
  byId("help").showModal();
}
