// The page: asks this node for the cluster every two seconds, and shows it.

const EVERY_MS = 2000;
const PATIENCE_MS = 6000;
/** How long a member that is gone is shown, and how many lines of news. */
const REMEMBER_GONE_MS = 120_000;
const NEWS = 50;
const KEY = "socketmesh-token";

/** Below whatever path the page is. */
const base = location.pathname.replace(/\/?$/, "/");
const rates = new Rates();
const charts = [
  { chart: new Chart("Events from clients", "per second"), names: ["socketmesh_socket_events_received_total"] },
  { chart: new Chart("Events to clients", "per second"), names: ["socketmesh_socket_events_sent_total"] },
  { chart: new Chart("Messages between nodes", "per second"), names: ["socketmesh_cluster_messages_sent_total"] },
  { chart: new Chart("New sessions", "per second"), names: ["socketmesh_engine_sessions_opened_total"] },
];
/** What a member does: events of its clients, and messages to and from other nodes. */
const BUSY = [
  "socketmesh_socket_events_received_total", "socketmesh_socket_events_sent_total",
  "socketmesh_cluster_messages_sent_total", "socketmesh_cluster_messages_received_total",
];
const busy = new Map();
/** The members that were seen: `id` → the last that was known, and since when they are gone. */
const known = new Map();
let shown = null;
let marked = null;
let timer = 0;
let asking = false;

// Asking

/** Asks the node; an error has what the page says about it. */
async function ask(path) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(base + path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 401) {
    login(token !== null);
    throw new Error("a token is needed");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the node answers ${answer.status}`);
  return answer.json();
}

async function refresh() {
  clearTimeout(timer);
  if (asking || document.hidden || isPaused()) return;
  asking = true;
  try {
    show(await ask("cluster"));
    say($("updated"), `at ${clock()}`);
    $("forget").hidden = sessionStorage.getItem(KEY) === null;
  } catch (error) {
    lose(error);
  } finally {
    asking = false;
    if (!$("login").open) timer = setTimeout(refresh, EVERY_MS);
  }
}

function login(refused) {
  say($("login-said"), refused ? "The node does not know this token." : "");
  if (!$("login").open) $("login").showModal();
}

function isPaused() {
  return $("pause").getAttribute("aria-pressed") === "true";
}

// Showing

function show(state) {
  const at = performance.now();
  const rateOf = rates.next(at, state.members);
  for (const { chart, names } of charts) {
    const measured = state.members.map((member) => rateOf(member, names)).filter((rate) => rate !== undefined);
    chart.history.add(at, measured.length ? measured.reduce((sum, rate) => sum + rate, 0) : undefined);
    const has = state.members.some((member) => member.report && names.some((name) => name in member.report.counters));
    if (has && !chart.card.isConnected) $("charts").append(chart.card);
    chart.show();
  }
  const members = remember(state.members);
  for (const member of members) {
    if (!busy.has(member.id)) busy.set(member.id, new History());
    busy.get(member.id).add(at, rateOf(member, BUSY));
  }
  for (const id of busy.keys()) if (!known.has(id)) busy.delete(id);
  const links = linksOf(members.filter((member) => member.shown !== "gone"));
  shown = { state, members, links };
  say($("me"), state.node);
  document.title = `${state.node} – socketmesh`;
  $("cluster").classList.remove("stale");
  judge(state, links);
  showFigures(state.members, links);
  showGraph();
  showMembers(state, members);
  showLinks(links);
}

/** The members, and those that were members a short while ago; tells what changed. */
function remember(members) {
  const [now, first] = [Date.now(), known.size === 0];
  for (const member of members) {
    member.shown = member.problem && member.state === "ready" ? "silent" : member.state;
    const before = known.get(member.id);
    if (!first) {
      if (!before) tell(`${member.id} is new: ${WORDS[member.shown]}`);
      else if (before.incarnation !== member.incarnation) tell(`${member.id} was started again: ${WORDS[member.shown]}`);
      else if (before.gone) tell(`${member.id} is back: ${WORDS[member.shown]}`);
      else if (before.shown !== member.shown) tell(`${member.id}: ${WORDS[member.shown]}`);
    }
    known.set(member.id, member);
  }
  const present = new Set(members.map((member) => member.id));
  for (const [id, member] of known) {
    if (present.has(id)) continue;
    if (!member.gone) {
      tell(`${id} ${member.shown === "draining" ? "has left" : "is gone"}`);
      known.set(id, { ...member, shown: "gone", gone: now, report: null, problem: null });
    } else if (now - member.gone > REMEMBER_GONE_MS) {
      known.delete(id);
      if (marked === id) marked = null;
    }
  }
  return [...known.values()].sort((a, b) => inOrder.compare(a.id, b.id));
}

const WORDS = {
  ready: "ready", joining: "joining", draining: "draining", hung: "its application hangs", silent: "does not answer", gone: "gone",
};

function tell(what) {
  const news = $("news");
  news.querySelector(".quiet")?.remove();
  news.prepend(make("li", {}, make("time", {}, clock()), what));
  while (news.children.length > NEWS) news.lastChild.remove();
}

/** One line that says how the cluster is. */
function judge(state, links) {
  const faults = [];
  const named = (list) => (list.length > 3 ? `${list.length} members` : list.map((member) => member.id).join(", "));
  const of = (shown) => state.members.filter((member) => member.shown === shown);
  if (state.obstacle) faults.push(`this node takes no clients: ${state.obstacle}`);
  if (of("silent").length) faults.push(`no answer of ${named(of("silent"))}`);
  if (of("hung").length) faults.push(`${named(of("hung"))}: the application hangs`);
  const down = links.filter((link) => link.state === "down").length;
  if (down) faults.push(`${plural(down, "link")} down`);
  const waits = ["joining", "draining"].filter((one) => of(one).length).map((one) => `${named(of(one))} ${one}`);
  const relayed = links.filter((link) => link.state === "relayed").length;
  const differing = state.members.filter((member) => member.settings_that_differ?.length);
  if (differing.length) waits.push(`settings of ${named(differing)} differ`);
  const gone = [...known.values()].filter((member) => member.gone);
  if (gone.length) waits.push(`${named(gone)} gone`);
  if (relayed) waits.push(`${plural(relayed, "link")} relayed`);
  $("verdict").dataset.mood = faults.length ? "bad" : waits.length ? "wait" : "well";
  const all = state.members.length === 1 ? "this node is ready, on its own" : `all ${state.members.length} members are ready`;
  say($("verdict"), [...faults, ...waits].join("; ") || all);
}

function lose(error) {
  $("cluster").classList.add("stale");
  $("verdict").dataset.mood = "bad";
  const late = ["TypeError", "TimeoutError"].includes(error.name);
  say($("verdict"), late ? "the node does not answer: trying again" : error.message);
}

function showFigures(members, links) {
  const reports = members.map((member) => member.report).filter(Boolean);
  const sum = (of) => reports.reduce((all, report) => all + of(report), 0);
  const ready = members.filter((member) => member.state === "ready").length;
  say($("figure-members"), count(members.length));
  say($("figure-members-more"), ready === members.length ? "all ready" : `${ready} ready`);
  say($("figure-sessions"), count(sum((report) => report.sessions)));
  say($("figure-sessions-more"), `${count(sum((report) => report.transports.polling))} polling`);
  say($("figure-sockets"), count(sum((report) => report.sockets)));
  say($("figure-sockets-more"), `in ${plural(new Set(reports.flatMap((report) => report.namespaces.map(({ name }) => name))).size, "namespace")}`);
  const slowest = links.filter((link) => link.rtt !== undefined).sort((a, b) => b.rtt - a.rtt)[0];
  say($("figure-rtt"), slowest ? milliseconds(slowest.rtt) : "–");
  say($("figure-rtt-more"), slowest ? slowest.ends.map((end) => shorten(end, 10)).join(" – ") : "no links");
  say($("figure-waiting"), count(links.reduce((all, link) => all + link.waiting, 0)));
}

function showGraph() {
  drawGraph($("graph"), shown.members, shown.links, marked, mark);
}

/** Makes the links of a node stand out, or all alike again. */
function mark(id) {
  marked = marked === id ? null : id;
  showGraph();
  for (const row of $("members").tBodies[0].rows) {
    row.classList.toggle("mark", row.dataset.id === marked);
    row.querySelector(".mark-node").setAttribute("aria-pressed", String(row.dataset.id === marked));
  }
}

/** Rows are kept, so that whoever has the focus in one keeps it. */
function showMembers(state, members) {
  const body = $("members").tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  members.forEach((member, at) => {
    const row = rows.get(member.id) ?? memberRow(member.id);
    rows.delete(member.id);
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
    fillMember(row, member, state.node);
  });
  for (const row of rows.values()) row.remove();
}

function memberRow(id) {
  const button = make("button", { class: "mark-node", type: "button", "aria-pressed": "false", title: id }, id);
  button.addEventListener("click", () => mark(id));
  const cell = (title, number) => make("td", { role: "cell", "data-title": title, class: number ? "number" : undefined });
  const row = make("tr", { role: "row", "data-id": id },
    make("th", { scope: "row", role: "rowheader" }, button, make("span", { class: "here" }), make("span", { class: "problem" })),
    cell("State"), cell("Age", true), cell("Sessions", true), cell("Rooms", true), cell("Messages / s", true),
    cell("Link from here"), cell("Waiting", true), cell("Ring share"));
  return row;
}

function fillMember(row, member, me) {
  const [name, state, ageOf, sessions, rooms, messages, link, waiting, share] = row.cells;
  const { report } = member;
  row.classList.toggle("gone", member.shown === "gone");
  say(name.querySelector(".here"), member.id === me ? "this node" : "");
  const differing = member.settings_that_differ ?? [];
  say(name.querySelector(".problem"), member.problem ?? report?.obstacle ?? differing.join("; "));
  state.replaceChildren(make("span", { class: `state ${member.shown}` }, member.shown === "silent" ? "no answer" : member.shown));
  say(ageOf, member.gone ? `gone for ${age((Date.now() - member.gone) / 1000)}` : age(member.age_seconds));
  say(sessions, report ? count(report.sessions) : "–");
  say(rooms, report ? count(report.rooms) : "–");
  const history = busy.get(member.id);
  messages.replaceChildren(sparkline(history), report ? rate(history.last) : "–");
  if (member.gone || member.id === me) {
    say(link, "–");
    say(waiting, "–");
  } else {
    link.replaceChildren(make("span", { class: `state ${member.link}` }, WAYS[member.link] ?? member.link),
      typeof member.rtt_ms === "number" ? ` ${milliseconds(member.rtt_ms)}` : "");
    say(waiting, count(member.waiting));
  }
  const part = member.gone ? 0 : member.ring_share;
  share.replaceChildren(make("span", { class: "share" },
    make("svg:svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, make("svg:rect", { width: part * 100, height: 8 })),
    member.gone ? "–" : percent(part)));
}

function showLinks(links) {
  $("links").tBodies[0].replaceChildren(...links.map(({ ends, state, rtt, waiting }) => make("tr", {},
    make("th", { scope: "row" }, ends[0]), make("td", {}, ends[1]),
    make("td", {}, make("span", { class: `state ${state}` }, WAYS[state] ?? state)),
    make("td", { class: "number" }, milliseconds(rtt)), make("td", { class: "number" }, count(waiting)))));
}

// On demand

$("count").addEventListener("click", () => onDemand($("count"), $("rooms-said"), async () => {
  const { rooms, missing } = await ask("rooms?limit=20");
  $("rooms").hidden = rooms.length === 0;
  $("rooms").tBodies[0].replaceChildren(...rooms.map(({ namespace, room, sockets, nodes }) => make("tr", {},
    make("th", { scope: "row" }, room), make("td", {}, namespace),
    make("td", { class: "number" }, count(sockets)), make("td", { class: "number" }, count(nodes)))));
  const without = missing.length ? `, without ${missing.join(", ")}` : "";
  return `${rooms.length === 0 ? "There are no rooms" : plural(rooms.length, "room")}, counted at ${clock()}${without}.`;
}));

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("socket-id").value.trim();
  onDemand($("find").querySelector("button"), $("socket-said"), async () => {
    $("socket").hidden = true;
    if (id.length !== 20) throw new Error("The id of a socket has 20 characters.");
    const socket = await ask(`sockets/${encodeURIComponent(id)}`);
    const facts = {
      Node: socket.node,
      Namespace: socket.namespace,
      Client: `${socket.address ?? "unknown address"}${socket.secure ? ", over TLS" : ""}`,
      Opened: new Date(socket.opened).toLocaleString("en-GB"),
      Rooms: socket.rooms.length ? make("ul", {}, ...socket.rooms.map((room) => make("li", {}, room))) : "none",
      Data: make("pre", { tabindex: "0" }, JSON.stringify(socket.data, null, 2)),
    };
    $("socket").replaceChildren(...Object.entries(facts).flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)]));
    $("socket").hidden = false;
    return `As ${socket.node} knew it at ${clock()}.`;
  });
});

async function onDemand(button, said, work) {
  button.disabled = true;
  try {
    say(said, await work());
  } catch (error) {
    say(said, error.message);
  } finally {
    button.disabled = false;
  }
}

$("pause").addEventListener("click", () => {
  $("pause").setAttribute("aria-pressed", String(!isPaused()));
  refresh();
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
$("login").addEventListener("close", () => {
  const token = $("token").value.trim();
  if (token) sessionStorage.setItem(KEY, token);
  $("token").value = "";
  refresh();
});
document.addEventListener("visibilitychange", () => refresh());
refresh();
