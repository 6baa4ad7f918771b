// What the server told: rows, events, the link to the supervisor. One stream of server-sent events,
// which the browser connects anew by itself; its last id says what this page has seen.

const HIDDEN_MS = 8000; // a page that nobody sees gives its connection back
const EVENTS = 1000;

export const store = {
  rows: new Map(),
  events: [],
  link: { state: "asking", text: "" },
  word: "",
};

const listeners = [];
let place = "";
let source = null;
let unit = "";
let connected = true;

// `act(message)` after each message was taken over, and with {} when the connection is lost.
export function onNews(act) {
  listeners.push(act);
}

export function isConnected() {
  return connected;
}

function take(message) {
  if (message.reset) {
    store.rows.clear();
    store.events = [];
  }
  for (const [key, fields] of Object.entries(message.rows || {})) {
    const old = store.rows.get(key);
    store.rows.set(key, old ? Object.assign(old, fields) : { key, ...fields });
  }
  for (const key of message.gone || []) store.rows.delete(key);
  if (message.link) store.link = message.link;
  if (message.events) store.events = store.events.concat(message.events).slice(-EVENTS);
  for (const act of listeners) act(message);
}

export function begin(first) {
  store.word = first.word;
  place = first.id;
  take({ ...first, reset: true });
  open();
  let timer = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, HIDDEN_MS);
    else if (!source) open();
  });
}

function close() {
  if (source) source.close();
  source = null;
}

function open() {
  close();
  if (document.hidden) return;
  source = new EventSource(`/stream?unit=${encodeURIComponent(unit)}&after=${place}`);
  source.onmessage = (event) => {
    place = event.lastEventId;
    connected = true;
    take(JSON.parse(event.data));
  };
  source.onopen = () => {
    connected = true;
    take({});
  };
  source.onerror = () => {
    connected = false;
    take({});
    // Refused for good (the dashboard has another token now, or too many pages): try again slowly.
    if (source && source.readyState === EventSource.CLOSED) setTimeout(() => source && open(), 5000);
  };
}

// Whose lines and figures are wanted too. All of its lines that are kept come anew.
export function watchUnit(key) {
  if (unit === key) return;
  unit = key;
  const [boot, version, event] = place.split(".");
  place = `${boot}.${version}.${event}.0`;
  open();
}

async function answer(response) {
  const body = await response.json().catch(() => ({ message: `the dashboard answers ${response.status}` }));
  if (!response.ok) throw new Error(body.message || `the dashboard answers ${response.status}`);
  return body;
}

export async function ask(path, signal) {
  return answer(await fetch(path, { signal, credentials: "same-origin" }));
}

export async function act(action, key) {
  const response = await fetch("/do", {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/json", "x-unboxed-word": store.word },
    body: JSON.stringify({ action, unit: key }),
  });
  return (await answer(response)).message;
}
