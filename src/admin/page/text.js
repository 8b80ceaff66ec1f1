"use strict";
// How elements are made, and how figures are written. Whatever nodes and clients say becomes text, never markup.

const $ = (id) => document.getElementById(id);

/** Makes an element of HTML, or of SVG if its name says so: "svg:path". */
function make(name, attributes = {}, ...children) {
  const [, svg, tag] = /^(svg:)?(.*)$/.exec(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Sets a text only if it is another one: a screen reader repeats what is set. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const inOrder = new Intl.Collator("en", { numeric: true });
const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 1234 → "1,234", 1234567 → "1.2M". */
function count(number) {
  return typeof number !== "number" ? "–" : number < 100_000 ? whole.format(number) : compact.format(number);
}

/** A rate: with a decimal while it is small. */
function rate(number) {
  if (typeof number !== "number" || !Number.isFinite(number)) return "–";
  return number > 0 && number < 10 ? number.toFixed(1) : count(Math.round(number));
}

function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function milliseconds(number) {
  if (typeof number !== "number") return "–";
  return `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
}

/** 93784 → "1 d 2 h": the two largest units. */
function age(seconds) {
  if (typeof seconds !== "number") return "–";
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  if (seconds < 1) return "0 s";
  const parts = units.slice(first, first + 2).map(([unit, size], at) => {
    const rest = at === 0 ? seconds : seconds % units[first][1];
    return [Math.floor(rest / size), unit];
  });
  return parts.filter(([number], at) => at === 0 || number > 0).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

function percent(share) {
  return typeof share === "number" ? `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %` : "–";
}

function clock(date = new Date()) {
  return date.toLocaleTimeString("en-GB");
}
