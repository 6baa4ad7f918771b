// Everything about one unit.

import { el, byId, setAttribute, setText } from "./dom.js";
import { operate } from "./dialogs.js";
import { eventLine } from "./events.js";
import { makeCharts } from "./charts.js";
import { makeLog } from "./log.js";
import { ask, onNews, store, watchUnit } from "./store.js";
import { amount, cpuTime, kind, mark, pending, percent, plain, size, span, stamp } from "./words.js";

const AGAIN_MS = 10000; // processes and listeners are asked for again
const SOON_MS = 250; // after a change of state
const ACTIONS = ["start", "stop", "restart", "reload"];
const LONG = new Set(["Now", "Reason", "Says", "Last exit", "Unit file", "Not enforced", "Agent of"]); // facts that take a line
const RESTING = ["stopped", "failed", "finished", "skipped"];

let shown = null; // {key, parts...}
let leave = () => {};
let go = () => {};

export function start({ onClose, onOpen }) {
  leave = onClose;
  go = onOpen;
  onNews((message) => {
    if (!shown) return;
    if (message.unit === shown.key) {
      shown.log.take(message);
      shown.charts.take(message);
    }
    if (message.reset || (message.rows && message.rows[shown.key]) || (message.gone || []).includes(shown.key)) {
      update();
      if (message.rows && message.rows[shown.key] && "since" in message.rows[shown.key]) soon();
    }
  });
  setInterval(() => {
    if (shown && !document.hidden) update();
  }, 1000);
}

export function openUnit(key) {
  if (shown && shown.key === key) return;
  const box = byId("detail");
  const facts = el("dl", { class: "facts" });
  const buttons = el("div", { class: "actions", role: "group", "aria-label": `Operate ${key}` });
  const title = el("h2", { id: "detail-name", tabindex: "-1" }, key);
  const state = el("p", { class: "state" });
  const about = el("p", { class: "about" });
  const why = el("ol", { class: "events" });
  const tree = el("div", { class: "tree" });
  const listeners = el("ul", { class: "listeners" });
  const problem = el("p", { class: "bad", role: "status", hidden: true });
  shown = {
    key, facts, buttons, title, state, about, why, tree, listeners, problem,
    charts: makeCharts(), log: makeLog(key), values: new Map(), timer: 0, fetching: null,
  };
  const part = (name, ...children) => el("section", { "aria-label": name }, el("h3", {}, name), ...children);
  box.replaceChildren(
    el("div", { class: "top" }, title, state, buttons,
      el("button", { type: "button", class: "close", "aria-label": `Close ${key}`, onclick: () => leave() }, "Close")),
    el("div", { class: "columns" },
      el("div", { class: "told" }, about, problem, facts, shown.charts.element,
        part("Why", why), part("Processes", tree), part("Listeners", listeners)),
      shown.log.element));
  box.hidden = false;
  document.body.classList.add("opened");
  watchUnit(key);
  update();
  look();
}

export function closeUnit() {
  if (!shown) return;
  clearTimeout(shown.timer);
  if (shown.fetching) shown.fetching.abort();
  shown = null;
  byId("detail").hidden = true;
  byId("detail").replaceChildren();
  document.body.classList.remove("opened");
  watchUnit("");
}

export function focusDetail() {
  if (shown) shown.title.focus();
}

function soon() {
  clearTimeout(shown.timer);
  shown.timer = setTimeout(look, SOON_MS);
}

async function look() {
  const now = shown;
  if (!now) return;
  clearTimeout(now.timer);
  if (now.fetching) now.fetching.abort();
  now.fetching = new AbortController();
  try {
    const found = await ask(`/unit?key=${encodeURIComponent(now.key)}`, now.fetching.signal);
    if (now !== shown) return;
    now.problem.hidden = true;
    chain(now, found.chain);
    processes(now, found.tree);
    now.listeners.replaceChildren(...(found.listeners.length ? found.listeners.map((one) =>
      el("li", {}, el("code", {}, one.address), one.name ? ` ${one.name}` : "",
        one.queue ? `, ${one.queue} connections wait` : "")) : [el("li", { class: "quiet" }, "none")]));
  } catch (error) {
    if (error.name === "AbortError" || now !== shown) return;
    setText(now.problem, error.message);
    now.problem.hidden = false;
  }
  if (!document.hidden || now.fetching) now.timer = setTimeout(look, AGAIN_MS);
}

function chain(now, events) {
  const id = events.map((one) => one.id).join();
  if (now.chain === id) return;
  now.chain = id;
  const ordered = [...events].sort((a, b) => b.id - a.id);
  now.why.replaceChildren(...(ordered.length ? ordered.map((one) => eventLine(one, go))
    : [el("li", { class: "quiet" }, "nothing has happened to it yet")]));
}

function processes(now, tree) {
  const children = new Map();
  const known = new Set(tree.map((one) => one.pid));
  for (const one of tree) {
    const above = known.has(one.ppid) && one.ppid !== one.pid ? one.ppid : 0;
    children.set(above, [...(children.get(above) || []), one]);
  }
  const rows = [];
  const walk = (pid, depth) => {
    for (const one of children.get(pid) || []) {
      rows.push(el("tr", {},
        el("td", {}, String(one.pid)), el("td", {}, size(one.memory_bytes)),
        el("td", { class: "command" }, `${"  ".repeat(depth)}${depth ? "└ " : ""}${plain(one.command) || "(not told here)"}`)));
      walk(one.pid, depth + 1);
    }
  };
  walk(0, 0);
  now.tree.replaceChildren(rows.length
    ? el("table", {}, el("thead", {}, el("tr", {}, ["PID", "Memory", "Command"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows))
    : el("p", { class: "quiet" }, "none"));
}

function update() {
  const row = store.rows.get(shown.key);
  const { buttons, state, about } = shown;
  if (!row) {
    setText(state, "there is no such unit now");
    buttons.replaceChildren();
    return;
  }
  const now = Date.now();
  setAttribute(state, "data-kind", kind(row.state));
  setText(state, `${mark(row.state)} ${row.state}`);
  setText(about, row.about);
  about.hidden = !row.about;
  if (row.act !== (buttons.children.length > 0)) {
    buttons.replaceChildren(...(row.act ? ACTIONS.map((action) =>
      el("button", { type: "button", "data-action": action, onclick: () => operate(action, store.rows.get(row.key) || row) },
        action[0].toUpperCase() + action.slice(1))) : []));
  }
  for (const button of buttons.children) {
    const resting = RESTING.includes(row.state);
    const sense = { start: resting || row.state === "backoff", stop: !resting, restart: !resting, reload: row.state === "running" };
    // Not `disabled`: the focus would be lost with it.
    setAttribute(button, "aria-disabled", String(!sense[button.dataset.action]));
  }
  fact("Since", `${stamp(row.since)} (${span(now - row.since)} ago)`);
  fact("Now", pending(row, now));
  fact("Reason", plain(row.reason));
  fact("Says", plain(row.says));
  fact("Main process", row.pid ? String(row.pid) : "");
  fact("Readiness", row.ready ? "ready" : ["starting", "waiting"].includes(row.state) ? "not yet" : "");
  fact("Memory", size(row.memory));
  fact("CPU", [percent(row.cpu), row.cpu_s === null ? "" : `${cpuTime(row.cpu_s)} in all`].filter(Boolean).join(", "));
  fact("Tasks", row.tasks === null ? "" : String(row.tasks));
  fact("Restarts", `${row.restarts}${row.recent && row.limit ? ` (${row.recent} of at most ${row.limit})` : ""}`);
  fact("Last exit", plain(row.last_exit));
  const more = row.attached_count - row.attached.length;
  fact("Agent of", row.attached.join(", ") + (more ? ` and ${more} more` : ""));
  fact("Behind", row.behind === null ? "" : row.behind ? `${amount(row.behind)} of their logs` : "no; it has all their logs");
  fact("Its agents", row.agents.join(", "));
  fact("Log lost", row.lost ? `${amount(row.lost)} since the host was started` : "");
  fact("Unit file", row.removed ? "gone; it is forgotten when it has stopped" : row.stale ? "changed since its start" : "");
  fact("Not enforced", row.missing.join("; "));
}

function fact(name, text) {
  let pair = shown.values.get(name);
  if (!pair) {
    pair = [el("dt", { class: LONG.has(name) && "long" }, name), el("dd", {})];
    shown.values.set(name, pair);
    shown.facts.append(...pair);
  }
  pair[0].hidden = pair[1].hidden = !text;
  setText(pair[1], text);
}
