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
const CROWD = 12; // units that an agent is drawn with
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
  drawn = null;
  const text = words.value.trim().toLowerCase();
  const busy = crowded();
  const all = edges().filter((one) =>
    !(one.kind === "attach" && busy.has(one.from))
    && (!text || one.from.toLowerCase().includes(text) || one.to.toLowerCase().includes(text)));
  const names = [...new Set(all.flatMap((one) => [one.from, one.to]))].sort();
  if (names.length > MOST) {
    note.textContent = `${names.length} units are related: search for some of them`;
    canvas.replaceChildren();
    return;
  }
  const units = new Set([...store.rows.values()].map((row) => row.unit));
  const alone = [...units].filter((name) => !names.includes(name) && !busy.has(name)).length;
  const told = [`${names.length} units`];
  if (alone && !text) told.push(`${alone} more are related to none`);
  for (const [name, count] of busy) told.push(`${name} is an agent of ${count}`);
  note.textContent = told.join("; ");
  drawn = paint(arrange(names, all), all);
  colour();
}

// Agents of so many units that their lines would hide all others.
function crowded() {
  const count = new Map();
  for (const one of relations) if (one.kind === "attach") count.set(one.unit, (count.get(one.unit) || 0) + 1);
  return new Map([...count].filter(([, targets]) => targets > CROWD));
}

// The longest way to what needs nothing is a node's layer (cycles are cut where they close). An
// edge over several layers gets a bend in each between, so that it goes between nodes and not
// behind them. Then each layer is put in order by where its neighbours are.
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
  const layers = Array.from({ length: Math.max(-1, ...depth.values()) + 1 }, () => []);
  const near = new Map();
  const put = (node, at) => {
    layers[at].push(node);
    near.set(node, []);
  };
  for (const name of names) put(name, depth.get(name));
  for (const one of all) {
    const [low, high] = [depth.get(one.from), depth.get(one.to)];
    const step = Math.sign(high - low);
    one.way = [one.from];
    for (let at = low + step; step && at !== high; at += step) {
      const bend = { bend: true };
      put(bend, at);
      one.way.push(bend);
    }
    one.way.push(one.to);
    for (let at = 1; at < one.way.length; at += 1) {
      near.get(one.way[at]).push(one.way[at - 1]);
      near.get(one.way[at - 1]).push(one.way[at]);
    }
  }
  const where = new Map();
  const remember = (layer) => layer.forEach((node, at) => where.set(node, (at + 0.5) / layer.length));
  layers.forEach(remember);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const weight = new Map(layer.map((node) => {
        const others = near.get(node).map((other) => where.get(other));
        return [node, others.length ? others.reduce((a, b) => a + b) / others.length : where.get(node)];
      }));
      layer.sort((a, b) => weight.get(a) - weight.get(b));
      remember(layer);
    }
  }
  return layers;
}

function boxes(layers) {
  const width = (node) => (node.bend ? 2 : Math.round((node.length + 4) * CHAR + 14));
  const wide = layers.map((layer) => layer.reduce((sum, node) => sum + width(node) + GAP_X, GAP_X));
  const total = Math.max(240, ...wide);
  const box = new Map();
  layers.forEach((layer, at) => {
    let x = GAP_X + (total - wide[at]) / 2;
    for (const node of layer) {
      box.set(node, { x, y: 14 + at * (TALL + GAP_Y), w: width(node) });
      x += width(node) + GAP_X;
    }
  });
  return { box, total, high: 28 + Math.max(1, layers.length) * (TALL + GAP_Y) - GAP_Y };
}

// From the border of the first to that of the last, straight through the bends between.
function course(way, box) {
  const [a, b] = [box.get(way[0]), box.get(way[way.length - 1])];
  if (a.y === b.y) {
    const [x1, x2, y] = [a.x + a.w / 2, b.x + b.w / 2, a.y + TALL];
    return `M${x1} ${y}C${x1} ${y + 24} ${x2} ${y + 24} ${x2} ${y}`;
  }
  const up = a.y > b.y;
  let path = "";
  let [x0, y0] = [a.x + a.w / 2, up ? a.y : a.y + TALL];
  for (const node of way.slice(1)) {
    const { x, y, w } = box.get(node);
    const [x1, y1] = [x + w / 2, up ? y + TALL : y];
    const middle = (y0 + y1) / 2;
    path += `${path ? "" : `M${x0} ${y0}`}C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
    [x0, y0] = [x1, up ? y : y + TALL];
    if (node.bend) path += `L${x0} ${y0}`;
  }
  return path;
}

function paint(layers, all) {
  const { box, total, high } = boxes(layers);
  const lines = all.map((one) => svg("path", {
    class: `edge ${one.kind}`, d: course(one.way, box), "marker-end": "url(#arrow)",
  }, svg("title", {}, `${said(one)}${one.until && one.until !== "ready" ? ` (${one.until})` : ""}`)));
  const nodes = new Map();
  for (const [name, place] of box) if (!name.bend) nodes.set(name, paintNode(name, place, all));
  const arrow = svg("defs", {}, svg("marker", {
    id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto",
    markerUnits: "userSpaceOnUse",
  }, svg("path", { d: "M0 0.8 7 4 0 7.2z" })));
  canvas.replaceChildren(svg("svg", { width: total, height: high, viewBox: `0 0 ${total} ${high}` },
    arrow, lines, [...nodes.values()].map(({ node }) => node)));
  return nodes;
}

function said(one) {
  return `${one.from} ${KINDS[one.kind] || one.kind} ${one.to}`;
}

function paintNode(name, { x, y, w }, all) {
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
  return { node, label, words: all.filter((one) => one.from === name).map(said) };
}

function colour() {
  for (const [name, { node, label, words: told }] of drawn) {
    const state = stateOf(name);
    const text = state ? `${mark(state)} ${name}` : `? ${name}`;
    if (label.textContent !== text) label.textContent = text;
    node.setAttribute("data-kind", state ? kind(state) : "missing");
    node.setAttribute("aria-label", `${name}, ${state || "no such unit"}${told.length ? `; ${told.join(", ")}` : ""}`);
  }
}
