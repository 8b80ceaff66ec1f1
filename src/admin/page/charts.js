// Rates: what counters grew between two answers, for as long as the page remembers.

const REMEMBERED_MS = 180_000;

/** The samples of one rate. */
class History {
  #samples = [];

  /** Adds what was measured until `at`; `undefined` leaves a gap. */
  add(at, value) {
    this.#samples.push({ at, value });
    while (this.#samples[0].at < at - REMEMBERED_MS) this.#samples.shift();
  }

  get values() { return this.#samples.map(({ value }) => value).filter((value) => value !== undefined); }
  get last() { return this.#samples.at(-1)?.value; }
  get most() { return Math.max(0, ...this.values); }

  /** The lines and the area below, in a box of 100 × 30 whose right edge is the newest sample. */
  path(most = this.most) {
    const now = this.#samples.at(-1)?.at ?? 0;
    const point = ({ at, value }) => [round(100 - ((now - at) / REMEMBERED_MS) * 100), round(29 - (value / (most || 1)) * 28)];
    let line = "", area = "", run = [];
    const close = () => {
      if (run.length > 1) {
        const points = run.map((sample) => point(sample).join(" ")).join("L");
        line += `M${points}`;
        area += `M${point(run[0])[0]} 30L${points}L${point(run.at(-1))[0]} 30Z`;
      }
      run = [];
    };
    for (const sample of this.#samples) {
      if (sample.value === undefined) close();
      else run.push(sample);
    }
    close();
    return { line, area };
  }
}

/** What the counters of each life of a node grew per second since the answer before. */
class Rates {
  #before = new Map();

  /** `rate(member, names)` of this answer: `undefined` for a node that is new or says nothing. */
  next(at, members) {
    const [before, now] = [this.#before, new Map()];
    for (const member of members) {
      if (member.report) now.set(lifeOf(member), { at, counters: member.report.counters });
    }
    this.#before = now;
    return (member, names) => {
      const [old, current] = [before.get(lifeOf(member)), now.get(lifeOf(member))];
      if (!old || !current || current.at <= old.at) return undefined;
      const known = names.filter((name) => name in current.counters && name in old.counters);
      if (known.length === 0) return undefined;
      const grown = known.reduce((sum, name) => sum + Math.max(0, current.counters[name] - old.counters[name]), 0);
      return (grown * 1000) / (current.at - old.at);
    };
  }
}

function lifeOf(member) {
  return `${member.id} ${member.incarnation}`;
}

/** A small picture of a rate in a table. */
function sparkline(history) {
  const { line, area } = history.path();
  return make("svg:svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    make("svg:path", { class: "area", d: area }), make("svg:path", { class: "line", d: line }));
}

/** A card with a chart, which `show` brings up to date. */
class Chart {
  constructor(title, unit) {
    this.history = new History();
    this.unit = unit;
    this.title = title;
    this.now = make("b", {}, "–");
    this.most = make("small");
    this.svg = make("svg:svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
    this.card = make("section", { class: "card chart" },
      make("h3", {}, title),
      make("div", { class: "feet" }, make("span", {}, this.now, make("small", {}, ` ${unit}`)), this.most),
      this.svg,
      make("div", { class: "feet", "aria-hidden": "true" }, make("small", {}, "3 min ago"), make("small", {}, "now")));
  }

  show() {
    const { history } = this;
    const { line, area } = history.path();
    say(this.now, rate(history.last));
    say(this.most, history.values.length ? `peak ${rate(history.most)}` : "");
    this.svg.setAttribute("aria-label", `${this.title}: ${rate(history.last)} ${this.unit} now, at most ${rate(history.most)} in three minutes`);
    this.svg.replaceChildren(
      make("svg:path", { class: "axis", d: "M0 30H100" }), make("svg:path", { class: "area", d: area }), make("svg:path", { class: "line", d: line }));
  }
}
