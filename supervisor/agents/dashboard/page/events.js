// Transitions as they happen, the latest first.

import { byId, el } from "./dom.js";
import { onNews, store } from "./store.js";
import { clock, plain, stamp } from "./words.js";

const SHOWN = 500;

export function eventLine(event, open) {
  return el("li", { "data-to": event.to },
    el("time", { datetime: new Date(event.time).toISOString(), title: stamp(event.time) }, clock(event.time, { millis: true })),
    el("button", { type: "button", class: "name", onclick: () => open(event.key) }, event.key),
    el("span", { class: "change" }, `${event.from} → ${event.to}`),
    el("span", { class: "cause" }, plain(event.cause)));
}

export function start(open) {
  const list = el("ol", { class: "events", "aria-label": "Transitions, the latest first" });
  const empty = el("p", { class: "quiet" }, "Nothing has happened since the dashboard began to listen.");
  byId("events").append(el("h2", {}, "Events"), empty, list);
  const add = (events) => {
    if (!events.length) return;
    empty.remove();
    list.prepend(...events.slice(-SHOWN).reverse().map((event) => eventLine(event, open)));
    while (list.children.length > SHOWN) list.lastChild.remove();
  };
  add(store.events);
  onNews((message) => {
    if (message.reset) list.replaceChildren();
    add(message.reset ? store.events : message.events || []);
  });
}
