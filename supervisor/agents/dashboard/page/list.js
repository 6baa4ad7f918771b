// The list of units: a grid whose rows are walked with the arrow keys. Rows are made once and
// changed in place; what is out of sight costs no layout (content-visibility).

import { byId, el, once, setAttribute, setText } from "./dom.js";
import { onNews, store } from "./store.js";
import { kind, mark, ORDER, percent, remark, size, span } from "./words.js";

const COLUMNS = [
  ["unit", "Unit", (a, b) => compare(a.key, b.key)],
  ["state", "State", (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state)],
  ["since", "Since", (a, b) => b.since - a.since],
  ["pid", "PID", (a, b) => a.pid - b.pid],
  ["memory", "Memory", (a, b) => (b.memory || 0) - (a.memory || 0)],
  ["cpu", "CPU", (a, b) => (b.cpu || 0) - (a.cpu || 0)],
  ["restarts", "Restarts", (a, b) => b.restarts - a.restarts],
  ["remark", "Remark", (a, b) => compare(a.reason, b.reason)],
];
const compare = new Intl.Collator("en", { numeric: true }).compare;

const made = new Map(); // key -> {row, cells}
const wanted = new Set(); // states; empty: all
let sorted = "unit";
let current = ""; // the key of the row that has the tab stop
let selected = "";
let order = []; // keys that are shown, from top to bottom
let opened = () => {};
let body;

export function start(onOpen) {
  opened = onOpen;
  const head = el("div", { role: "row", class: "row head" }, COLUMNS.map(([name, title]) =>
    el("span", { role: "columnheader", class: name, "aria-sort": name === sorted ? "ascending" : "none" },
      el("button", { type: "button", onclick: () => sortBy(name) }, title))));
  body = el("div", { role: "rowgroup", id: "rows" });
  byId("list").append(head, body);
  byId("search").addEventListener("input", arrange);
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      draw();
      focusRow(order[0]);
    } else if (event.key === "Escape" && byId("search").value) {
      event.stopPropagation();
      byId("search").value = "";
      arrange();
    }
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("grouped").addEventListener("change", arrange);
  byId("list").addEventListener("keydown", walk);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("[data-key]");
    if (row && !String(getSelection())) open(row.dataset.key);
  });
  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-key]");
    if (row) stopAt(row.dataset.key);
  });
  onNews((message) => {
    if (message.reset) {
      for (const key of made.keys()) if (!store.rows.has(key)) drop(key);
    }
    for (const key of message.gone || []) drop(key);
    for (const key of Object.keys(message.rows || {})) show(key);
    if (message.rows || message.gone || message.reset) arrange();
  });
  setInterval(() => {
    if (!document.hidden) for (const key of order) times(key);
  }, 1000);
}

function drop(key) {
  const one = made.get(key);
  if (one) one.row.remove();
  made.delete(key);
}

function show(key) {
  let one = made.get(key);
  if (!one) {
    const cells = {};
    for (const [name] of COLUMNS) {
      cells[name] = el("span", { role: "gridcell", class: name });
    }
    cells.mark = el("i", { "aria-hidden": "true" });
    cells.word = document.createTextNode("");
    cells.state.append(cells.mark, cells.word);
    setText(cells.unit, key);
    const row = el("div", { role: "row", class: "row", tabindex: "-1", "data-key": key },
      COLUMNS.map(([name]) => cells[name]));
    one = { row, cells };
    made.set(key, one);
  }
  const { row, cells } = one;
  const data = store.rows.get(key);
  setAttribute(row, "data-kind", kind(data.state));
  setText(cells.mark, mark(data.state));
  if (cells.word.data !== data.state) cells.word.data = data.state;
  setText(cells.pid, data.pid ? String(data.pid) : "");
  setText(cells.memory, size(data.memory));
  setText(cells.cpu, percent(data.cpu));
  setText(cells.restarts, data.restarts ? String(data.restarts) : "");
  if (data.about) setAttribute(row, "title", data.about);
  times(key);
}

function times(key) {
  const one = made.get(key);
  const data = store.rows.get(key);
  if (!one || !data) return;
  const now = Date.now();
  setText(one.cells.since, span(now - data.since));
  const text = remark(data, now);
  setText(one.cells.remark, text || data.about);
  one.cells.remark.classList.toggle("about", !text);
}

function fits(data, text) {
  if (wanted.size && !wanted.has(data.state)) return false;
  if (!text) return true;
  return `${data.key} ${data.about} ${data.reason} ${data.says}`.toLowerCase().includes(text);
}

export const arrange = once(draw);

export function draw() {
  const text = byId("search").value.trim().toLowerCase();
  const grouped = byId("grouped").checked;
  const compareBy = COLUMNS.find(([name]) => name === sorted)[2];
  const shown = [...store.rows.values()].filter((data) => fits(data, text));
  shown.sort((a, b) =>
    (grouped ? ORDER.indexOf(a.state) - ORDER.indexOf(b.state) : 0) || compareBy(a, b) || compare(a.key, b.key));
  const nodes = [];
  let group = "";
  for (const data of shown) {
    if (grouped && data.state !== group) {
      group = data.state;
      nodes.push(heading(group, shown));
    }
    nodes.push(made.get(data.key).row);
  }
  order = shown.map((data) => data.key);
  place(nodes);
  counts();
  setText(byId("shown"), shown.length === store.rows.size ? `${shown.length} units` : `${shown.length} of ${store.rows.size}`);
  setAttribute(byId("list"), "aria-rowcount", String(order.length + 1));
  if (!order.includes(current)) stopAt(order[0] || "");
}

function heading(state, shown) {
  const count = shown.filter((data) => data.state === state).length;
  return el("div", { role: "row", class: "group", "data-kind": kind(state) },
    el("span", { role: "gridcell" }, `${mark(state)} ${state} `, el("small", {}, String(count))));
}

// Moves only what is not where it belongs, so that focus and scrolling stay.
function place(nodes) {
  const focused = document.activeElement;
  const keep = new Set(nodes);
  for (const child of [...body.children]) if (!keep.has(child)) child.remove();
  if (!body.children.length) body.append(...nodes);
  let at = body.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else body.insertBefore(node, at);
  }
  if (focused && focused !== document.activeElement && keep.has(focused)) focused.focus({ preventScroll: true });
}

function counts() {
  const found = {};
  for (const data of store.rows.values()) found[data.state] = (found[data.state] || 0) + 1;
  const box = byId("states");
  const there = new Map([...box.children].map((button) => [button.dataset.state, button]));
  for (const state of ORDER) {
    let button = there.get(state);
    if (!found[state] && !wanted.has(state)) {
      if (button) button.remove();
      continue;
    }
    if (!button) {
      button = el("button", {
        type: "button", "data-state": state, "data-kind": kind(state), "aria-pressed": "false",
        onclick: () => toggle(state),
      }, el("i", { "aria-hidden": "true" }, mark(state)), ` ${state} `, el("b", {}, ""));
      const after = [...box.children].find((other) => ORDER.indexOf(other.dataset.state) > ORDER.indexOf(state));
      box.insertBefore(button, after || null);
    }
    setAttribute(button, "aria-pressed", String(wanted.has(state)));
    setText(button.querySelector("b"), String(found[state] || 0));
  }
}

function toggle(state) {
  if (!wanted.delete(state)) wanted.add(state);
  arrange();
}

function sortBy(name) {
  sorted = name;
  for (const header of byId("list").querySelectorAll("[role=columnheader]")) {
    header.setAttribute("aria-sort", header.classList.contains(name) ? "ascending" : "none");
  }
  draw();
}

function stopAt(key) {
  if (current && made.has(current)) made.get(current).row.setAttribute("tabindex", "-1");
  current = key;
  if (made.has(key)) made.get(key).row.setAttribute("tabindex", "0");
}

function focusRow(key) {
  if (!key || !made.has(key)) return;
  stopAt(key);
  const { row } = made.get(key);
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

export function focusList() {
  focusRow(made.has(selected) && order.includes(selected) ? selected : current);
}

function walk(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const at = order.indexOf(current);
  const page = Math.max(1, Math.floor(byId("list").clientHeight / 28) - 2);
  const to = {
    ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: order.length - 1,
  }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    focusRow(order[Math.max(0, Math.min(order.length - 1, to))]);
  } else if (event.key === "Enter" && event.target.closest("[data-key]")) {
    event.preventDefault();
    open(current, true);
  }
}

function open(key, go) {
  opened(key, go);
}

export function select(key) {
  if (selected && made.has(selected)) made.get(selected).row.removeAttribute("aria-selected");
  selected = key;
  if (made.has(key)) made.get(key).row.setAttribute("aria-selected", "true");
}
