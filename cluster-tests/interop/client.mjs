// The official client in its versions and that of the demo, with deadlines that say what was waited for.
import { connect as io2 } from "socket.io-client-2";
import { io as io3 } from "socket.io-client-3";
import { io as io40 } from "socket.io-client-4-0";
import { io as io4 } from "socket.io-client";
import msgpack from "socket.io-msgpack-parser";
import msgpack2 from "socket.io-msgpack-parser-2";
import WebSocket from "ws";
import { io as own } from "../../deploy/server/page/client.mjs";

const clients = [];
const versions = {
  2: io2,
  3: io3,
  "4.0": io40,
  4: io4,
  msgpack: (url, options) => io4(url, { parser: msgpack, ...options }),
  msgpack2: (url, options) => io2(url, { parser: msgpack2, ...options }),
  own: (url, options) => own(url, { WebSocket, ...options }),
};
let usual = 4;

/** Every version of the official client, oldest first. */
export const VERSIONS = ["2", "3", "4.0", "4"];

/** Which version clients are of from now on, unless they say otherwise. */
export function use(version) {
  if (!(version in versions)) throw new Error(`no client of version ${version}`);
  usual = version;
}

/** A client with a connection of its own. */
export function client(url, { version = usual, ...options } = {}) {
  // Over https the tests have certificates of their own.
  const usually = { forceNew: true, reconnection: false, rejectUnauthorized: false };
  const one = versions[version](url, { ...usually, ...options });
  clients.push(one);
  return one;
}

/** The client, once it is connected. */
export async function connected(one) {
  const refused = new Promise((_, reject) => {
    one.once("connect_error", reject);
    // What version 2 calls a refusal by a namespace.
    one.once("error", reject);
  });
  if (!one.connected) await deadline("a connection", Promise.race([event(one, "connect"), refused]));
  one.on("disconnect", (reason) => {
    if (reason !== "io client disconnect") throw new Error(`a client was disconnected: ${reason}`);
  });
  return one;
}

/** Emits, and gives the acknowledgement. */
export function emit(one, name, ...args) {
  if (one.emitWithAck) return one.timeout(DEADLINE).emitWithAck(name, ...args);
  return deadline(`the ack of ${name}`, new Promise((resolve) => one.emit(name, ...args, resolve)));
}

/** The next event of this name: its first argument. */
export function event(emitter, name) {
  return new Promise((resolve) => emitter.once(name, resolve));
}

/** Waits for a promise, and fails naming what was waited for. */
export async function deadline(what, promise, ms = DEADLINE, state = () => "") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}. ${state()}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function disconnectAll() {
  for (const one of clients.splice(0)) one.disconnect();
}

const DEADLINE = 20_000;
