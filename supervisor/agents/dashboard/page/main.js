// The page as a whole: views, the open unit, the link to the supervisor, keys.

import { byId, setAttribute, setText } from "./dom.js";
import { begin, isConnected, onNews, store } from "./store.js";
import { clock, kind, span } from "./words.js";
import * as detail from "./detail.js";
import * as dialogs from "./dialogs.js";
import * as events from "./events.js";
import * as graph from "./graph.js";
import * as list from "./list.js";

const VIEWS = ["units", "graph", "events"];
const SPOKEN = 3; // changes that are said at once; of more only their number

let view = "";
let unit = "";
let heard = 0; // when the last message came

// The address says what is shown: #VIEW or #VIEW/KEY.
function route() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const key = decodeURIComponent(rest.join("/"));
  const next = VIEWS.includes(name) ? name : "units";
  if (next !== view) {
    view = next;
    for (const one of VIEWS) {
      byId(one).hidden = one !== view;
      if (one === view) byId(`to-${one}`).setAttribute("aria-current", "page");
      else byId(`to-${one}`).removeAttribute("aria-current");
    }
    if (view === "graph") graph.show();
  }
  unit = key;
  for (const one of VIEWS) byId(`to-${one}`).href = `#${one}${unit ? `/${encodeURIComponent(unit)}` : ""}`;
  list.select(unit);
  if (unit) detail.openUnit(unit);
  else detail.closeUnit();
}

function visit(name, key) {
  const hash = `#${name}${key ? `/${encodeURIComponent(key)}` : ""}`;
  if (location.hash === hash) return;
  history.pushState(null, "", hash);
  route();
}

function open(key, go) {
  visit(view, key);
  if (go) detail.focusDetail();
}

function close() {
  const inside = byId("detail").contains(document.activeElement);
  const was = unit;
  open("");
  list.select("");
  if (inside && view === "units" && was) list.focusList();
  else if (inside) byId(`to-${view}`).focus();
}

function about() {
  const { link } = store;
  const parts = [];
  const more = [];
  if (link.version) {
    parts.push(`version ${link.version}`, `up ${span(Date.now() - link.started)}`);
    if (link.socket === "status") parts.push("only looking");
    more.push(`manager ${link.pid}`);
    if (link.starts > 1) more.push(`started ${link.starts} times`);
    if (link.tracking === "session") more.push("no cgroups: processes are told by session");
  }
  setText(byId("about-short"), parts.join(" · "));
  setText(byId("about-more"), more.map((one) => ` · ${one}`).join(""));
  setAttribute(byId("about"), "title", link.denied || "");
  const state = !isConnected() ? "lost" : link.state;
  const text = !isConnected() ? `The dashboard does not answer since ${clock(heard)}; this page tries again by itself.`
    : link.state === "up" ? "" : `${link.text} (last heard ${clock(heard)})`;
  setAttribute(byId("link"), "data-state", state);
  setText(byId("link"), state === "up" ? "● live" : state === "asking" ? "◔ asking" : "✖ not live");
  setAttribute(byId("link"), "title", text);
  const notice = [text, link.replaced || ""].filter(Boolean).join(" ");
  setText(byId("notice"), notice ? notice[0].toUpperCase() + notice.slice(1) : "");
  byId("notice").hidden = !notice;
}

const before = new Map(); // key -> state, to say what changed

function say(message) {
  const changes = [];
  for (const key of Object.keys(message.rows || {})) {
    const row = store.rows.get(key);
    const old = before.get(key);
    before.set(key, row.state);
    if (!message.reset && old && old !== row.state && (kind(row.state) === "bad" || kind(old) === "bad" || key === unit)) {
      changes.push(`${key}: ${row.state}`);
    }
  }
  for (const key of message.gone || []) before.delete(key);
  if (changes.length) {
    setText(byId("said"), changes.length > SPOKEN ? `${changes.length} units changed` : changes.join(", "));
  }
  const bad = [...store.rows.values()].filter((row) => kind(row.state) === "bad").length;
  document.title = bad ? `(${bad}) unboxed` : "unboxed";
}

function keys(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && unit) {
    close();
  } else if (event.key === "/" && !typing) {
    event.preventDefault();
    visit("units", document.body.clientWidth < 900 ? "" : unit); // no room for both
    byId("search").focus();
  } else if (event.key === "?" && !typing) {
    event.preventDefault();
    dialogs.help();
  }
}

list.start(open);
events.start((key) => open(key, true));
graph.start(open);
detail.start({ onClose: close, onOpen: (key) => open(key, true) });
onNews((message) => {
  if (message.link || message.rows) heard = Date.now();
  about();
  say(message);
});
byId("keys").addEventListener("click", dialogs.help);
addEventListener("hashchange", route);
addEventListener("popstate", route);
document.addEventListener("keydown", keys);
setInterval(() => { if (!document.hidden) about(); }, 5000);
heard = Date.now();
begin(JSON.parse(byId("first").textContent));
list.draw();
route();
performance.mark("drawn");
