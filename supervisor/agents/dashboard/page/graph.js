// Who needs whom, drawn in layers: what is needed is above, who needs it below.

import { byId, el, svg } from "./dom.js";
import { ask, onNews, store } from "./store.js";
import { kind, mark, ORDER } from "./words.js";

const MOST = 400; // nodes; beyond that a picture says nothing, and a search picks a part
const GAP_X = 22;
const GAP_Y = 58;
const TALL = 26;
const CHAR = 7.3;
const SWEEPS = 6;
const KINDS = {
  requires: "requires", binds_to: "binds to", wants: "wants", after: "after", before: "before",
  attach: "agent of", conflicts: "conflicts with",
};

let relations = null;
let open = () => {};
let drawn = null;
let canvas;
let note;
let words;

export function start(onOpen) {
  open = onOpen;
  words = el("input", { type: "search", placeholder: "Search", "aria-label": "Show only these units and their neighbours", autocomplete: "off", spellcheck: "false", oninput: () => draw() });
  note = el("output", {});
  canvas = el("div", { class: "canvas", tabindex: "0", role: "group", "aria-label": "Graph, scrolls" });
  byId("graph").append(
    el("div", { class: "tools" }, el("h2", {}, "Dependency graph"), words, note,
      el("button", { type: "button", onclick: () => show() }, "Draw again")),
    el("ul", { class: "legend", "aria-label": "Legend" }, Object.entries(KINDS).map(([name, text]) =>
      el("li", {}, svg("svg", { viewBox: "0 0 28 8", width: 28, height: 8, "aria-hidden": "true" },
        svg("line", { class: `edge ${name}`, x1: 1, x2: 27, y1: 4, y2: 4 })), ` ${text}`))),
    canvas);
  onNews((message) => {
    if (drawn && (message.rows || message.reset)) colour();
  });
}

export async function show() {
  try {
    ({ relations } = await ask("/relations"));
    draw();
  } catch (error) {
    note.textContent = error.message;
  }
}

// The worst of its instances speaks for a unit.
function stateOf(name) {
  let worst = null;
  for (const row of store.rows.values()) {
    if (row.unit === name && (worst === null || ORDER.indexOf(row.state) < ORDER.indexOf(worst))) worst = row.state;
  }
  return worst;
}

// Edges point from who looks to what is looked at; `before` is turned round.
function edges() {
  return relations.map((one) => one.kind === "before"
    ? { from: one.target, to: one.unit, kind: "after", until: one.until }
    : { from: one.unit, to: one.target, kind: one.kind, until: one.until });
}

function draw() {
  if (!relations) return;
  let all = edges();
  const text = words.value.trim().toLowerCase();
  if (text) all = all.filter((one) => one.from.toLowerCase().includes(text) || one.to.toLowerCase().includes(text));
  const names = [...new Set(all.flatMap((one) => [one.from, one.to]))].sort();
  drawn = null;
  if (names.length > MOST) {
    note.textContent = `${names.length} units are related: search for some of them`;
    canvas.replaceChildren();
    return;
  }
  const units = new Set([...store.rows.values()].map((row) => row.unit));
  const alone = [...units].filter((name) => !names.includes(name)).length;
  note.textContent = text ? `${names.length} units` : `${names.length} units; ${alone} more are related to none`;
  const layers = arrange(names, all);
  drawn = paint(layers, all);
  colour();
}

// The longest way to what needs nothing is a node's layer (cycles are cut where they close); then
// each layer is put in order by where its neighbours are.
function arrange(names, all) {
  const below = new Map(names.map((name) => [name, []]));
  for (const one of all) if (one.kind !== "conflicts") below.get(one.from).push(one.to);
  const depth = new Map();
  const busy = new Set();
  const deep = (name) => {
    if (depth.has(name)) return depth.get(name);
    if (busy.has(name)) return 0;
    busy.add(name);
    let found = 0;
    for (const target of below.get(name)) if (target !== name) found = Math.max(found, deep(target) + 1);
    busy.delete(name);
    depth.set(name, found);
    return found;
  };
  names.forEach(deep);
  const layers = [];
  for (const name of names) (layers[depth.get(name)] ||= []).push(name);
  for (let at = 0; at < layers.length; at += 1) layers[at] ||= [];
  const near = new Map(names.map((name) => [name, []]));
  for (const one of all) {
    near.get(one.from).push(one.to);
    near.get(one.to).push(one.from);
  }
  const where = new Map();
  const note_ = (layer) => layer.forEach((name, at) => where.set(name, (at + 0.5) / layer.length));
  layers.forEach(note_);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const weight = new Map(layer.map((name) => {
        const others = near.get(name).map((other) => where.get(other));
        return [name, others.length ? others.reduce((a, b) => a + b) / others.length : where.get(name)];
      }));
      layer.sort((a, b) => weight.get(a) - weight.get(b));
      note_(layer);
    }
  }
  return layers;
}

function paint(layers, all) {
  const width = (name) => Math.round((name.length + 4) * CHAR + 14);
  const wide = layers.map((layer) => layer.reduce((sum, name) => sum + width(name) + GAP_X, GAP_X));
  const total = Math.max(240, ...wide);
  const box = new Map();
  layers.forEach((layer, at) => {
    let x = GAP_X + (total - wide[at]) / 2;
    for (const name of layer) {
      box.set(name, { x, y: 14 + at * (TALL + GAP_Y), w: width(name) });
      x += width(name) + GAP_X;
    }
  });
  const high = 28 + layers.length * (TALL + GAP_Y) - GAP_Y;
  const lines = all.map((one) => {
    const a = box.get(one.from);
    const b = box.get(one.to);
    const down = a.y > b.y;
    const [x1, y1] = [a.x + a.w / 2, down ? a.y : a.y + TALL];
    const [x2, y2] = [b.x + b.w / 2, down ? b.y + TALL : b.y];
    const middle = (y1 + y2) / 2;
    const path = a.y === b.y
      ? `M${x1} ${a.y + TALL}C${x1} ${a.y + TALL + 24} ${x2} ${a.y + TALL + 24} ${x2} ${a.y + TALL}`
      : `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
    return svg("path", { class: `edge ${one.kind}`, d: path, "marker-end": "url(#arrow)" },
      svg("title", {}, `${one.from} ${KINDS[one.kind] || one.kind} ${one.to}${one.until && one.until !== "ready" ? ` (${one.until})` : ""}`));
  });
  const nodes = new Map();
  for (const [name, { x, y, w }] of box) {
    const label = svg("text", { x: x + w / 2, y: y + TALL / 2 + 4, "text-anchor": "middle" }, name);
    const choose = () => {
      const row = [...store.rows.values()].find((one) => one.unit === name);
      if (row) open(row.key, true);
    };
    const node = svg("g", {
      class: "node", tabindex: "0", role: "button",
      onclick: choose,
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose();
        }
      },
    }, svg("rect", { x, y, width: w, height: TALL, rx: 2 }), label);
    const said = all.filter((one) => one.from === name).map((one) => `${KINDS[one.kind] || one.kind} ${one.to}`);
    nodes.set(name, { node, label, said });
  }
  const arrow = svg("defs", {}, svg("marker", {
    id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto",
  }, svg("path", { d: "M0 0.8 7 4 0 7.2z" })));
  canvas.replaceChildren(svg("svg", { width: total, height: high, viewBox: `0 0 ${total} ${high}` },
    arrow, lines, [...nodes.values()].map(({ node }) => node)));
  return nodes;
}

function colour() {
  for (const [name, { node, label, said }] of drawn) {
    const state = stateOf(name);
    const text = state ? `${mark(state)} ${name}` : `? ${name}`;
    if (label.textContent !== text) label.textContent = text;
    node.setAttribute("data-kind", state ? kind(state) : "missing");
    node.setAttribute("aria-label", `${name}, ${state || "no such unit"}${said.length ? `; ${said.join(", ")}` : ""}`);
  }
}
