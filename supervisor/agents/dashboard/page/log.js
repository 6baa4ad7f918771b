// The last lines of one unit, as they come. It follows its end while that is in sight; a pause keeps
// what comes meanwhile, and a search hides the lines without the words.

import { el, once, setText } from "./dom.js";
import { clock, plain } from "./words.js";

const MOST = 2000; // lines that are kept here
const MARKS = { output: "", error: "E", lost: "L" };
const SPOKEN = { output: "", error: "stderr: ", lost: "lost: " };

export function makeLog(key) {
  let waiting = []; // while it is paused
  let paused = false;
  let following = true;
  let placing = false; // a scroll of ours, not of the reader

  const lines = el("div", {
    role: "log", tabindex: "0", class: "lines", "aria-label": `Log of ${key}`, "aria-live": "off",
    onscroll: () => {
      if (!placing) following = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 8;
    },
  });
  const empty = el("p", { class: "quiet" }, "No line since the dashboard began to listen.");
  lines.append(empty);
  const count = el("output", {}, "");
  const pause = el("button", {
    type: "button", "aria-pressed": "false", onclick: () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      if (!paused) {
        const kept = waiting;
        waiting = [];
        following = true;
        add(kept);
      }
      tell();
    },
  }, "Pause");
  const words = el("input", {
    type: "search", placeholder: "Search the log", "aria-label": `Search the log of ${key}`,
    autocomplete: "off", spellcheck: "false", oninput: () => search(),
    onkeydown: (event) => {
      if (event.key === "Escape" && words.value) {
        event.stopPropagation();
        words.value = "";
        search();
      }
    },
  });
  const wrap = el("input", { type: "checkbox", checked: true, onchange: () => lines.classList.toggle("long", !wrap.checked) });

  const down = once(() => {
    if (!following) return;
    placing = true;
    lines.scrollTop = lines.scrollHeight;
    requestAnimationFrame(() => { placing = false; });
  });

  function paint(line) {
    const text = line.plainText;
    const wanted = words.value.toLowerCase();
    line.element.hidden = Boolean(wanted) && !text.toLowerCase().includes(wanted);
    const body = line.element.lastChild;
    body.replaceChildren();
    let at = 0;
    if (wanted && !line.element.hidden) {
      const low = text.toLowerCase();
      for (let found = low.indexOf(wanted); found >= 0; found = low.indexOf(wanted, at)) {
        body.append(text.slice(at, found), el("mark", {}, text.slice(found, found + wanted.length)));
        at = found + wanted.length;
      }
    }
    body.append(text.slice(at));
  }

  let kept = [];

  function make([, time, kind, text]) {
    const element = el("div", { class: "line", "data-kind": kind },
      el("time", { datetime: new Date(time).toISOString() }, clock(time, { millis: true })),
      el("i", { "aria-hidden": "true" }, MARKS[kind]),
      SPOKEN[kind] ? el("span", { class: "quiet" }, SPOKEN[kind]) : null,
      el("span", {}));
    const line = { element, plainText: plain(text) };
    paint(line);
    return line;
  }

  function add(fresh) {
    if (!fresh.length) return;
    const some = fresh.slice(-MOST).map(make);
    lines.append(...some.map((line) => line.element));
    kept = kept.concat(some);
    for (const old of kept.splice(0, Math.max(0, kept.length - MOST))) old.element.remove();
    empty.remove();
    tell();
    down();
  }

  function tell() {
    const wanted = words.value;
    const found = wanted ? `${kept.filter((line) => !line.element.hidden).length} of ` : "";
    setText(count, `${found}${kept.length} lines${paused ? `, ${waiting.length} more wait` : ""}`);
  }

  function search() {
    kept.forEach(paint);
    tell();
    down();
  }

  const element = el("section", { class: "log", "aria-label": "Log" },
    el("div", { class: "tools" }, el("h3", {}, "Log"), words, pause,
      el("label", {}, wrap, " wrap"), count),
    lines);

  return {
    element,
    take(message) {
      const fresh = message.lines || [];
      if (!fresh.length) return;
      if (message.missed) fresh.unshift([0, fresh[0][1], "lost", "lines were skipped here: they came faster than this page takes them; `unboxed logs` has them"]);
      if (!paused) {
        add(fresh);
        return;
      }
      waiting = waiting.concat(fresh).slice(-MOST);
      tell();
    },
  };
}
