// The members on a circle, in the order of their names, and the links between them: the same picture whenever it is drawn.

const WAYS = { up: "direct", relayed: "relayed", down: "down" };

/** Both ends tell of a link: the worse state counts, the shorter round trip, and what waits in either direction. */
function linksOf(members) {
  const links = new Map();
  for (const member of members) {
    for (const { peer, state, rtt_ms, waiting } of member.report?.links ?? []) {
      const ends = [member.id, peer].sort(inOrder.compare);
      const key = ends.join(" ");
      const other = links.get(key);
      const worse = ["up", "relayed", "down"];
      links.set(key, {
        key,
        ends,
        state: other && worse.indexOf(other.state) > worse.indexOf(state) ? other.state : state,
        rtt: [rtt_ms, other?.rtt].filter((rtt) => typeof rtt === "number").sort((a, b) => a - b)[0],
        waiting: (waiting ?? 0) + (other?.waiting ?? 0),
      });
    }
  }
  return [...links.values()].sort((a, b) => inOrder.compare(a.key, b.key));
}

/** Draws everything anew. `marked` is the id of a node whose links stand out. */
function drawGraph(svg, members, links, marked, onMark) {
  const layout = circle(members.length);
  const places = new Map(members.map((member, at) => [member.id, layout.place(at)]));
  const mine = (link) => (link.ends.includes(marked) ? " mine" : "");
  const lines = [], labels = [];
  // What is wrong is drawn on top.
  const ranks = ["up", "relayed", "down"];
  for (const link of links.toSorted((a, b) => ranks.indexOf(a.state) - ranks.indexOf(b.state))) {
    const [from, to] = link.ends.map((end) => places.get(end));
    if (!from || !to) continue;
    const line = make("svg:path", { class: `link ${link.state}${mine(link)}`, d: `M${from.x} ${from.y}L${to.x} ${to.y}` },
      make("svg:title", {}, `${link.ends.join(" – ")}: ${linkText(link)}`));
    if (link.waiting > 0) line.style.strokeWidth = String(Math.min(5, layout.stroke + Math.log10(1 + link.waiting)));
    lines.push(line);
    if (members.length <= 5 || (mine(link) && members.length <= 20)) {
      // Nearer to one end than to the other where links cross in the middle; always at the far end of a marked node.
      const at = mine(link) && members.length > 5 ? (link.ends[0] === marked ? 0.72 : 0.28) : members.length > 3 ? 0.36 : 0.5;
      const text = link.state === "down" ? "down" : link.waiting > 9 ? `${milliseconds(link.rtt)} · ${count(link.waiting)}` : milliseconds(link.rtt);
      if (text !== "–") {
        labels.push(make("svg:text", {
          class: `rtt ${link.state}${mine(link)}`, "font-size": layout.small,
          x: from.x + (to.x - from.x) * at, y: from.y + (to.y - from.y) * at,
        }, text));
      }
    }
  }
  const nodes = members.map((member, at) => {
    const place = layout.place(at);
    const node = make("svg:g", { class: `node ${member.shown}${member.id === marked ? " mark" : ""}` },
      make("svg:title", {}, `${member.id}: ${member.shown}, ${plural(member.report?.sessions ?? 0, "session")}`),
      make("svg:circle", { cx: place.x, cy: place.y, r: layout.radius }),
      layout.counts && member.report
        ? make("svg:text", { class: "count", x: place.x, y: place.y, "font-size": layout.small }, compact.format(member.report.sessions))
        : undefined,
      make("svg:text", { class: "name", "font-size": layout.font, ...place.label }, shorten(member.id, layout.letters)));
    node.addEventListener("click", () => onMark(member.id));
    return node;
  });
  svg.setAttribute("viewBox", layout.box);
  svg.classList.toggle("many", members.length > 5);
  svg.classList.toggle("crowd", members.length > 20);
  svg.classList.toggle("marked", places.has(marked));
  svg.replaceChildren(...lines, ...labels, ...nodes);
  const counted = ["up", "relayed", "down"].map((state) => [state, links.filter((link) => link.state === state).length]);
  const states = counted.filter(([, number]) => number > 0).map(([state, number]) => `${number} ${state}`);
  const text = `${plural(members.length, "node")} on a circle, ${plural(links.length, "link")}${states.length ? `: ${states.join(", ")}` : ""}. The tables say the same.`;
  if (svg.getAttribute("aria-label") !== text) svg.setAttribute("aria-label", text);
}

function linkText({ state, rtt, waiting }) {
  const parts = [WAYS[state] ?? state];
  if (typeof rtt === "number") parts.push(milliseconds(rtt));
  if (waiting > 0) parts.push(`${count(waiting)} waiting`);
  return parts.join(", ");
}

/** Where the nodes and their names are, and how large they are, for so many of them. */
function circle(number) {
  const crowded = number > 16;
  const ring = number === 1 ? 0 : crowded ? 96 : number > 8 ? 96 : 72;
  const radius = crowded ? Math.max(2.5, Math.min(6, (Math.PI * ring) / number / 1.6)) : number > 8 ? 9 : 14;
  const font = crowded ? Math.max(4.5, Math.min(8, (2 * Math.PI * ring) / number * 0.8)) : 10;
  const place = (at) => {
    const angle = number === 1 ? Math.PI / 2 : -Math.PI / 2 + (2 * Math.PI * at) / number;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [x, y] = [ring * cos, ring * sin].map(round);
    const gap = radius + (crowded ? 3 : 5);
    if (crowded) {
      const left = cos < -0.001;
      const turn = round((angle * 180) / Math.PI + (left ? 180 : 0));
      const [lx, ly] = [(ring + gap) * cos, (ring + gap) * sin].map(round);
      return { x, y, label: { x: lx, y: ly, "text-anchor": left ? "end" : "start", transform: `rotate(${turn} ${lx} ${ly})` } };
    }
    // Above and below the name is centred, beside the node elsewhere.
    const beside = Math.abs(cos) > 0.35;
    return {
      x, y,
      label: beside
        ? { x: round(x + Math.sign(cos) * gap), y, "text-anchor": cos > 0 ? "start" : "end" }
        : { x, y: round(y + (sin < -0.001 ? -1 : 1) * (gap + 4)), "text-anchor": "middle" },
    };
  };
  const box = crowded ? "-150 -150 300 300" : number > 8 ? "-165 -126 330 252" : number === 1 ? "-100 -40 200 90"
    : number === 3 ? "-135 -102 270 156" : "-135 -102 270 204";
  const small = crowded || number > 8 ? 6 : 8;
  return { place, box, radius, font, small, stroke: crowded ? 0.5 : 1.6, counts: !crowded, letters: crowded ? 12 : 14 };
}

function round(number) {
  return Math.round(number * 100) / 100;
}

/** The end of a name says more than its middle: "node-00de…5a10". */
function shorten(name, letters) {
  return name.length <= letters ? name : `${name.slice(0, letters - 5)}…${name.slice(-4)}`;
}
