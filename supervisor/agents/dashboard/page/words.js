// States, figures and times in words, as `unboxed status` has them.

// Each state: how alarming it is, and a mark that tells it without colour.
export const STATES = {
  unkillable: ["bad", "✖"], failed: ["bad", "✖"], backoff: ["busy", "↻"], waiting: ["busy", "…"],
  starting: ["busy", "◔"], stopping: ["busy", "◕"], reloading: ["busy", "↺"], frozen: ["odd", "❚"],
  running: ["good", "●"], finished: ["idle", "✓"], skipped: ["idle", "–"], stopped: ["idle", "○"],
};
export const ORDER = Object.keys(STATES);

export function kind(state) {
  return (STATES[state] || ["odd", "?"])[0];
}

export function mark(state) {
  return (STATES[state] || ["odd", "?"])[1];
}

export function span(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  let value = bytes / 1024;
  for (const unit of "KMGT") {
    if (value < 999.5) return `${value < 99.95 && unit !== "K" ? value.toFixed(1) : Math.round(value)}${unit}`;
    value /= 1024;
  }
  return `${Math.round(value)}P`;
}

export function amount(bytes) {
  return bytes < 1024 ? `${bytes} B` : size(bytes);
}

export function rate(bytes) {
  if (bytes === null || bytes === undefined) return "";
  return bytes < 1024 ? `${Math.round(bytes)} B/s` : `${size(bytes)}/s`;
}

export function percent(value) {
  if (value === null || value === undefined) return "";
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)}%`;
}

export function cpuTime(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const pad = (number, width = 2) => String(number).padStart(width, "0");

export function clock(ms, { millis = false } = {}) {
  const at = new Date(ms);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return millis ? `${time}.${pad(at.getMilliseconds(), 3)}` : time;
}

// With the day, unless that is today.
export function stamp(ms) {
  const at = new Date(ms);
  if (at.toDateString() === new Date().toDateString()) return clock(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(ms)}`;
}

function until(ms, now) {
  return ms > now ? `${Math.ceil((ms - now) / 1000)} s left` : "overdue";
}

// What an instance on its way waits for, and until when; "" when it is not on its way.
export function pending(row, now) {
  const left = row.deadline ? `, ${until(row.deadline, now)}` : "";
  const needs = row.waiting.join(", ");
  switch (row.state) {
    case "backoff": {
      const tries = row.limit ? ` (${row.recent}/${row.limit})` : row.recent ? ` (try ${row.recent})` : "";
      return row.next_try ? `next try in ${span(row.next_try - now)}${tries}` : "next try soon";
    }
    case "waiting": return `waiting for ${needs || "its turn"}`;
    case "starting": return `waiting for ${needs || "ready"}${left}`;
    case "stopping": return (needs ? `waiting for ${needs}` : "ending its processes") + left;
    case "unkillable": return "survived SIGKILL; it ends when the kernel lets go of it";
    default: return "";
  }
}

// The last column of the list: what a reader would ask next.
export function remark(row, now) {
  const parts = [];
  if (row.state === "backoff") parts.push(row.last_exit || row.reason, pending(row, now));
  else if (row.state === "failed") parts.push(row.reason, row.reason.includes(row.last_exit) ? "" : row.last_exit);
  else if (["stopped", "finished", "skipped"].includes(row.state)) parts.push(row.reason || row.last_exit);
  else if (["waiting", "starting", "stopping", "unkillable"].includes(row.state)) parts.push(pending(row, now), row.says);
  else parts.push(row.says, row.last_exit && row.restarts ? `last: ${row.last_exit.split(", sent by ")[0]}` : "");
  if (row.behind) parts.push(`${amount(row.behind)} behind`);
  if (row.removed) parts.push("its unit file is gone");
  else if (row.stale) parts.push("unit file changed since its start");
  if (row.missing.length) parts.push(`${row.missing.length} not enforced`);
  return parts.filter(Boolean).join("; ");
}

// A line of a log without what would act on a reader's eyes: colours and cursor movements are left
// out, other control characters and those that turn the direction of text are shown as such.
// eslint-disable-next-line no-control-regex
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_])/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function plain(text) {
  return text.replace(SEQUENCES, "").replace(CONTROLS, (found) => {
    const code = found.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "␡" : `‹${code.toString(16).padStart(4, "0")}›`;
  });
}
