// The page of the demo: a whiteboard, a chat, and what goes on in the cluster behind them.
import { io as own } from "./client.mjs";

const $ = (id) => document.getElementById(id);
const text = (value, longest = 500) => (typeof value === "string" ? value : "").slice(0, longest);
const path = document.documentElement.dataset.path;

/* --- badges: a node has the same colour on every page --- */
function hue(node) {
  let hash = 0;
  for (const char of node.replace(/\d+$/, "")) hash = (hash * 31 + char.codePointAt(0)) % 360;
  return Math.round((hash + 137.5 * (/\d+$/.exec(node)?.[0] ?? 0)) % 360);
}
function paint(badge, node, label = node) {
  badge.className = node ? "badge" : "badge unknown";
  badge.textContent = node ? label : "–";
  badge.style.setProperty("--hue", hue(node));
  badge.title = node;
  return badge;
}
const badge = (node, label) => paint(document.createElement("span"), text(node, 63), label);

/* --- which node answered each request of long-polling; a page cannot see it of a WebSocket's handshake --- */
const answered = new Map();
function count(node) {
  if (!node) return;
  answered.set(node, (answered.get(node) ?? 0) + 1);
  const nodes = [...answered].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  $("edges").replaceChildren(...nodes.map(([node, count]) => badge(node, `${node} × ${count}`)));
}
/** For the official client. */
const { open } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.open = function (...request) {
  this.addEventListener("readystatechange", () => {
    if (this.readyState === 2) count(this.getResponseHeader("x-socketmesh-node"));
  });
  return open.apply(this, request);
};
/** For the client of this page. */
async function countingFetch(...request) {
  const response = await fetch(...request);
  count(response.headers.get("x-socketmesh-node"));
  return response;
}

/* --- which client: the official one, from the folder or the CDN that the server names, unless it cannot be had soon --- */
const SOON = 1500;

async function officialClient() {
  try {
    // Fetched, not named as the source of a script: that could not be given up, and the page would go on loading.
    const answer = await fetch(`${path}socket.io.min.js`, { signal: AbortSignal.timeout(SOON) });
    if (!answer.ok) return undefined;
    document.head.append(Object.assign(document.createElement("script"), { textContent: await answer.text() }));
    return globalThis.io;
  } catch {
    return undefined;
  }
}
const query = new URLSearchParams(location.search);
const official = query.get("client") === "own" ? undefined : await officialClient();
const io = official ?? own;
$("client").textContent = official ? "official" : "this page’s own";

/* --- choices, kept in the address --- */
for (const [choice, key] of [["mode", "transport"], ["client-choice", "client"]]) {
  const select = $(choice);
  select.value = query.get(key) ?? "";
  if (select.selectedIndex < 0) select.value = "";
  select.addEventListener("change", () => {
    if (select.value) query.set(key, select.value);
    else query.delete(key);
    location.search = query;
  });
}

/* --- the connection --- */
function status(state, words = state) {
  $("status").dataset.state = state;
  $("status").textContent = words;
}
const socket = io({
  path,
  transports: $("mode").value ? [$("mode").value] : ["polling", "websocket"],
  // Quicker than usual, because here nodes are stopped for people to see what happens.
  reconnectionDelay: 250,
  reconnectionDelayMax: 2000,
  ...(official ? {} : { fetch: countingFetch }),
});
let id = "";
let owner = "";
let opened = 0;
let reconnects = 0;
/** Grows with every connection: what is from an earlier one may be out of date. */
let connection = 0;

socket.io.on("open", () => {
  opened = performance.now();
  const engine = socket.io.engine;
  $("transport").textContent = engine.transport.name;
  $("upgrade").textContent = "";
  engine.on("upgrade", (transport) => {
    $("transport").textContent = transport.name;
    $("upgrade").textContent = `upgraded after ${Math.round(performance.now() - opened)} ms`;
  });
});
socket.io.on("reconnect_attempt", (attempt) => status("connecting", `reconnecting, attempt ${attempt}…`));
socket.io.on("reconnect", () => { $("reconnects").textContent = ++reconnects; });
socket.on("connect", () => {
  connection += 1;
  status("connected");
});
socket.on("connect_error", (error) => status(socket.active ? "connecting" : "offline", `no connection: ${error.message}`));
socket.on("disconnect", (reason) => {
  status(socket.active ? "connecting" : "offline", `disconnected: ${reason}`);
  $("transport").textContent = "–";
  $("upgrade").textContent = "";
  $("cluster").classList.add("stale");
  people.clear();
  showPeople();
});
socket.on("welcome", (welcome) => {
  id = text(welcome?.id, 64);
  owner = text(welcome?.node, 63);
  paint($("owner"), owner);
  offer(text(welcome?.color, 32));
  if (!$("name").value) $("name").value = remembered() || `guest-${id.slice(0, 4)}`;
  sendName();
});
$("where").addEventListener("click", () => {
  const asked = performance.now();
  socket.timeout(5000).emit("where", (error, reply) => {
    if (!error) paint($("owner"), text(reply?.node, 63));
    $("trip").textContent = error ? "no answer" : `${Math.round(performance.now() - asked)} ms`;
  });
});

/* --- the cluster --- */
const svg = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const cards = new Map();
let places = new Map();
let before = new Map();

/** What is said of a node: how it is, a word for the colour, and more. */
function described({ node, phase, state, links, sessions }) {
  if (phase === "stopped" && state) return ["stopped", "bad", "The others have not noticed yet: to them it is only silent."];
  if (phase === "stopped") return ["gone", "bad", "The others go on without it. Its clients are on other nodes."];
  if (!state || state === "joining") return ["joining", "wait", "It takes no clients before all others know it."];
  if (state === "draining") return ["leaving", "wait", "It takes no new clients."];
  const names = (wanted) => Object.keys(links).filter((peer) => links[peer] === wanted);
  const parts = [`${sessions} ${sessions === 1 ? "session" : "sessions"}`];
  const [up, relayed, down] = ["up", "relayed", "down"].map(names);
  if (up.length) parts.push(`linked to ${up.join(", ")}`);
  if (relayed.length) parts.push(`through others to ${relayed.join(", ")}`);
  if (down.length) parts.push(`no link to ${down.join(", ")}`);
  return ["ready", "", `${parts.join(" · ")}.`];
}

function card(name) {
  const [item, names, serves, state] = ["li", "span", "span", "span"].map((tag) => document.createElement(tag));
  const button = Object.assign(document.createElement("button"), { type: "button" });
  names.className = "names";
  serves.className = "serves";
  state.className = "state";
  names.append(badge(name), serves);
  item.append(names, button, state);
  button.addEventListener("click", () => {
    socket.timeout(5000).emit("order", { order: button.dataset.order, node: name }, (error, reply) => {
      if (!error && reply?.error) $("news").textContent = text(reply.error.message);
    });
  });
  return { item, serves, state, button };
}

function showMember(member, isLast, hasSwitch) {
  const { item, serves, state, button } = cards.get(member.node);
  const [word, kind, more] = described(member);
  const isMine = member.node === owner && member.phase === "running";
  item.className = `${isMine ? "mine" : ""} ${member.state && member.phase !== "stopped" ? "" : "gone"}`;
  serves.textContent = isMine ? "serves you" : "";
  state.replaceChildren(Object.assign(document.createElement("b"), { textContent: word, className: kind }), " · ", more);
  button.hidden = !hasSwitch;
  const order = member.phase === "stopped" ? "start" : "stop";
  button.dataset.order = order;
  button.textContent = { start: "Start", stop: "Stop" }[order];
  button.disabled = member.phase === "starting" || (order === "stop" && isLast);
  button.title = order === "stop" ? "Like kill -9: nobody is told" : "Like a process that is started again";
  button.setAttribute("aria-label", order === "stop" ? `Stop ${member.node} without a warning` : `Start ${member.node}`);
}

/** Every pair of nodes of which one knows how it reaches the other. */
function linksOf(members) {
  const links = new Map();
  for (const { node, links: peers } of members) {
    for (const [peer, state] of Object.entries(peers)) {
      const pair = [node, peer].sort().join(" ");
      // Where two see it differently, the worse holds.
      const worse = ["up", "relayed", "down"].indexOf(state) > ["up", "relayed", "down"].indexOf(links.get(pair) ?? "up");
      if (!links.has(pair) || worse) links.set(pair, state);
    }
  }
  return [...links].map(([pair, state]) => [...pair.split(" "), state]);
}

function showGraph(members) {
  places = new Map(members.map(({ node }, n) => {
    const angle = (n / members.length) * 2 * Math.PI - Math.PI / 2;
    return [node, members.length > 1 ? [85 * Math.cos(angle), 58 * Math.sin(angle)] : [0, 0]];
  }));
  const heights = [...places.values()].map(([, y]) => y);
  const [top, bottom] = [Math.min(0, ...heights) - 24, Math.max(0, ...heights) + 24];
  $("graph").setAttribute("viewBox", `-110 ${top} 220 ${bottom - top}`);
  const isStopped = new Set(members.filter(({ phase }) => phase === "stopped").map(({ node }) => node));
  const links = linksOf(members).filter(([a, b]) => places.has(a) && places.has(b))
    .map(([a, b, state]) => [a, b, isStopped.has(a) || isStopped.has(b) ? "down" : state]);
  const lines = links.map(([a, b, state]) => {
    const [[x1, y1], [x2, y2]] = [places.get(a), places.get(b)];
    return svg("line", { class: `link ${state}`, x1, y1, x2, y2 });
  });
  const size = members.length > 12 ? 8 : 16;
  const dots = members.map(({ node, state, phase }) => {
    const [cx, cy] = places.get(node);
    const isMine = node === owner && phase === "running";
    const group = svg("g", { class: state && phase !== "stopped" ? "" : "gone", style: `--hue: ${hue(node)}` },
      svg("circle", { class: "dot", cx, cy, r: size }),
      svg("text", { x: cx, y: cy }, size > 8 ? /\d+$/.exec(node)?.[0] ?? node[0] : ""));
    if (isMine) group.prepend(svg("circle", { class: "mine", cx, cy, r: size + 5 }));
    return group;
  });
  const up = links.filter(([, , state]) => state === "up").length;
  $("graph").replaceChildren(...lines, ...dots);
  $("graph").setAttribute("aria-label",
    `${members.length - isStopped.size} of ${members.length} nodes run, ${up} links between them are up. ${owner} serves you.`);
}

/** What changed, for those who cannot look at two things at once. */
function tellNews(members) {
  for (const { node, phase, state } of members) {
    const last = before.get(node);
    if (!last) continue;
    if (last.phase !== phase && phase === "stopped") $("news").textContent = `${node} was stopped without a warning.`;
    else if (phase === "stopped" && last.state && !state) $("news").textContent = `The others found out that ${node} is gone.`;
    else if (last.state !== state && state === "ready") $("news").textContent = `${node} is ready and takes clients.`;
  }
  before = new Map(members.map((member) => [member.node, member]));
}

socket.on("members", (shown) => {
  const byName = (a, b) => a.node.localeCompare(b.node, "en", { numeric: true });
  const members = (shown?.members ?? []).slice(0, 32).sort(byName);
  const running = members.filter(({ phase }) => phase === "running").length;
  for (const name of cards.keys()) {
    if (!members.some(({ node }) => node === name)) cards.delete(name);
  }
  for (const member of members) {
    if (!cards.has(member.node)) cards.set(member.node, card(member.node));
    showMember(member, running < 2, shown.has_switch);
  }
  const items = members.map(({ node }) => cards.get(node).item);
  // Cards stay where they are, and keep the focus, unless the nodes themselves are others.
  if (items.some((item, n) => $("members").children[n] !== item) || $("members").childElementCount !== items.length) {
    $("members").replaceChildren(...items);
  }
  showGraph(members);
  tellNews(members);
  // A node that was stopped took its people along without a word; those who came back have other ids.
  const gone = new Set(members.filter(({ state, phase }) => phase === "stopped" && !state).map(({ node }) => node));
  for (const [key, { node }] of people) if (gone.has(node)) people.delete(key);
  showPeople();
  $("cluster").classList.toggle("stale", members.length === 0);
});

/** A dot runs along a link: what was drawn came that way. */
let pulses = 0;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
function pulse(from, to) {
  const [start, end] = [places.get(from), places.get(to)];
  if (calm.matches || pulses > 12 || from === to || !start || !end) return;
  pulses += 1;
  const dot = svg("circle", { class: "pulse", r: 4 });
  $("graph").append(dot);
  const at = ([x, y]) => ({ transform: `translate(${x}px, ${y}px)` });
  dot.animate([at(start), at(end)], { duration: 400, easing: "ease-in-out" }).finished.finally(() => {
    pulses -= 1;
    dot.remove();
  });
}

/* --- the whiteboard: segments in coordinates 0..1, so every screen shows the same picture --- */
const board = $("board");
const brush = board.getContext("2d");
/** As many as nodes keep for newcomers. */
const most = 3000;
let segments = [];
let received = 0;
let redrawing = 0;

function draw({ x0, y0, x1, y1, color }) {
  const { width, height } = board;
  // A colour that is none is ignored by the canvas, and the grey stays.
  brush.strokeStyle = "#888";
  brush.strokeStyle = color;
  brush.lineWidth = Math.max(2, width / 320);
  brush.lineCap = "round";
  brush.beginPath();
  brush.moveTo(x0 * width, y0 * height);
  brush.lineTo(x1 * width, y1 * height);
  brush.stroke();
}
function add(segment) {
  segments.push({ ...segment, connection });
  // Now and then, because it takes a while.
  if (segments.length > 2 * most) segments = segments.slice(-most);
  draw(segment);
}
/** A segment as it came, or nothing. */
function segmentOf(value) {
  const { x0, y0, x1, y1 } = value ?? {};
  return [x0, y0, x1, y1].every(Number.isFinite) ? { x0, y0, x1, y1, color: text(value.color, 32) } : undefined;
}
function redraw() {
  brush.clearRect(0, 0, board.width, board.height);
  segments.forEach(draw);
  if (document.activeElement === board && pen.shown) {
    brush.strokeStyle = pen.down ? ink() : "#888";
    brush.lineWidth = Math.max(2, board.width / 500);
    brush.beginPath();
    brush.arc(pen.x * board.width, pen.y * board.height, board.width / 80, 0, 7);
    brush.stroke();
  }
}
function redrawSoon() {
  cancelAnimationFrame(redrawing);
  redrawing = requestAnimationFrame(redraw);
}
new ResizeObserver(() => {
  const { width, height } = board.getBoundingClientRect();
  board.width = Math.round(width * devicePixelRatio);
  board.height = Math.round(height * devicePixelRatio);
  redraw();
}).observe(board);

function stroke(x0, y0, x1, y1) {
  if (!socket.connected) return;
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const segment = { x0: round(x0), y0: round(y0), x1: round(x1), y1: round(y1), color: ink() };
  add(segment);
  socket.emit("stroke", segment);
  for (const node of places.keys()) pulse(owner, node);
}
socket.on("stroke", (value) => {
  const segment = segmentOf(value);
  if (!segment) return;
  add(segment);
  $("strokes-received").textContent = ++received;
  paint($("stroke-node"), text(value.node, 63));
  pulse(text(value.node, 63), owner);
});
/** The board and the chat as the nodes know them, for somebody who has just come, or come back. */
socket.on("board", (board) => {
  const key = ({ x0, y0, x1, y1, color }) => [x0, y0, x1, y1, color].join();
  const known = (board?.strokes ?? []).map(segmentOf).filter(Boolean);
  const keys = new Set(known.map(key));
  // What was drawn since may not be there yet.
  const since = segments.filter((segment) => segment.connection === connection && !keys.has(key(segment)));
  segments = [...known.map((segment) => ({ ...segment, connection })), ...since].slice(-most);
  redrawSoon();
  showLines(board?.lines ?? []);
});
function wipe() {
  segments = [];
  redraw();
}
socket.on("clear", wipe);
$("clear").addEventListener("click", () => {
  if (!socket.connected) return;
  wipe();
  socket.emit("clear");
});

let last = null;
const place = (event) => {
  const { left, top, width, height } = board.getBoundingClientRect();
  const clamp = (value) => Math.min(1, Math.max(0, value));
  return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
};
board.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0) return;
  board.setPointerCapture(event.pointerId);
  pen.shown = false;
  redrawSoon();
  last = place(event);
  stroke(...last, ...last);
});
board.addEventListener("pointermove", (event) => {
  if (!last || !event.isPrimary) return;
  const next = place(event);
  // Below a few thousandths nobody sees a difference, and every segment is a message to everybody.
  if (Math.hypot(next[0] - last[0], next[1] - last[1]) < 0.003) return;
  stroke(...last, ...next);
  last = next;
});
for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => { last = null; });

const pen = { x: 0.5, y: 0.5, down: false, shown: false };
const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
board.addEventListener("keydown", (event) => {
  const step = steps[event.key];
  if (!step && event.key !== " ") return;
  event.preventDefault();
  pen.shown = true;
  if (step) {
    const x = Math.min(1, Math.max(0, pen.x + step[0] * 0.0125));
    const y = Math.min(1, Math.max(0, pen.y + step[1] * 0.02));
    if (pen.down) stroke(pen.x, pen.y, x, y);
    Object.assign(pen, { x, y });
  } else if (!event.repeat) {
    pen.down = !pen.down;
    $("pen").textContent = pen.down ? "Pen is down." : "Pen is up.";
  }
  redrawSoon();
});
board.addEventListener("blur", () => {
  pen.down = false;
  $("pen").textContent = "";
  redrawSoon();
});

/* --- colours: each is visible on light and on dark paper --- */
const inks = { Blue: "#2f7fe0", Orange: "#d9591a", Green: "#2c9150", Violet: "#8b5cf6", Pink: "#d6417f", Grey: "#78857f" };
const ink = () => document.querySelector("input[name=ink]:checked").value;
function swatch(label, color) {
  const choice = document.createElement("label");
  choice.className = "colour";
  choice.title = label;
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "ink", value: color });
  input.setAttribute("aria-label", label);
  const dot = document.createElement("span");
  dot.style.setProperty("--ink", color);
  choice.append(input, dot);
  return choice;
}
for (const [label, color] of Object.entries(inks)) $("colours").append(swatch(label, color));
document.querySelector("input[name=ink]").checked = true;
/** The colour that the server gave this client: the first choice, once. */
function offer(color) {
  if ($("own-ink") || !CSS.supports("color", color)) return;
  const own = swatch("Your colour", color);
  own.id = "own-ink";
  $("colours").querySelector("legend").after(own);
  own.querySelector("input").checked = true;
}

/* --- the chat --- */
const people = new Map();
const typists = new Map();
let typed = 0;
const remembered = () => { try { return text(localStorage.getItem("name"), 24); } catch { return ""; } };

function sendName() {
  const name = $("name").value.trim();
  if (!name) return;
  try { localStorage.setItem("name", name); } catch { /* private window */ }
  if (socket.connected) socket.emit("name", { name });
}
$("name").addEventListener("change", sendName);

/* Lines that the nodes have have a stamp, the moment and the node; those that were not confirmed yet follow them. */
const stamp = ({ at, node }) => `${at} ${node}`;
const lines = new Map();
const sending = new Set();

function item(from, words, tail) {
  const line = document.createElement("li");
  const name = Object.assign(document.createElement("b"), { textContent: from });
  line.append(name, words, " ", tail);
  return line;
}
function lineOf(value) {
  const from = text(value?.from, 64) || "somebody";
  return { stamp: stamp(value), at: Number(value.at) || 0, connection, item: item(from, text(value.text), badge(value.node)) };
}
function showLog() {
  const log = $("chat-log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.replaceChildren(...[...lines.values()].map(({ item }) => item), ...sending);
  if (atEnd) log.scrollTop = log.scrollHeight;
}
function addLine(value) {
  if (!value || lines.has(stamp(value))) return;
  const line = lineOf(value);
  lines.set(line.stamp, line);
  if (lines.size > 200) lines.delete(lines.keys().next().value);
  showLog();
}
function showLines(known) {
  const since = [...lines.values()].filter((line) => line.connection === connection);
  const all = new Map([...known.map(lineOf), ...since].map((line) => [line.stamp, line]));
  lines.clear();
  for (const line of [...all.values()].sort((a, b) => a.at - b.at)) lines.set(line.stamp, line);
  showLog();
}
$("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = $("chat-input").value.trim();
  if (!words) return;
  $("chat-input").value = "";
  typed = 0;
  const state = Object.assign(document.createElement("span"), { className: "quiet", textContent: "sending…" });
  const mine = item($("name").value.trim() || "me", words, state);
  sending.add(mine);
  showLog();
  socket.timeout(10000).emit("chat", { text: words }, (error, reply) => {
    if (error || reply?.error) return void (state.textContent = "not confirmed");
    sending.delete(mine);
    addLine(reply);
  });
});
socket.on("chat", (message) => {
  typists.delete(text(message?.from, 64));
  showTypists();
  addLine(message);
});
$("chat-input").addEventListener("input", () => {
  if (!socket.connected || performance.now() - typed < 1500 && typed) return;
  typed = performance.now();
  socket.emit("typing");
});
socket.on("typing", (typing) => {
  const from = text(typing?.from, 64) || "somebody";
  clearTimeout(typists.get(from));
  typists.set(from, setTimeout(() => { typists.delete(from); showTypists(); }, 2500));
  showTypists();
});
function showTypists() {
  const names = [...typists.keys()];
  const who = names.length > 2 ? "Several people are" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"}`;
  $("typing").textContent = names.length ? `${who} typing…` : "";
}
socket.on("who", (who) => {
  const key = text(who?.id, 64);
  if (!key || key === id) return;
  // Somebody new: introduce ourselves, wherever they are.
  if (who.joined && !people.has(key)) socket.emit("here", { to: key });
  if (who.joined) people.set(key, { name: text(who.name, 64) || `guest-${key.slice(0, 4)}`, node: who.node });
  else people.delete(key);
  showPeople();
});
function showPeople() {
  const shown = [...people.values()].slice(0, 30).map(({ name, node }) => {
    const item = document.createElement("li");
    item.append(name, " ", badge(node));
    return item;
  });
  $("people").replaceChildren(...shown);
}
