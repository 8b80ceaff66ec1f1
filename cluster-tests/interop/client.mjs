// The official client, with deadlines that say what was waited for.
import { io } from "socket.io-client";

const clients = [];

/** A client with a connection of its own. */
export function client(url, options = {}) {
  const one = io(url, { forceNew: true, reconnection: false, ...options });
  clients.push(one);
  return one;
}

/** The client, once it is connected. */
export async function connected(one) {
  const refused = new Promise((_, reject) => one.once("connect_error", reject));
  if (!one.connected) await deadline("a connection", Promise.race([event(one, "connect"), refused]));
  one.on("disconnect", (reason) => {
    if (reason !== "io client disconnect") throw new Error(`a client was disconnected: ${reason}`);
  });
  return one;
}

/** Emits, and gives the acknowledgement. */
export function emit(one, name, ...args) {
  return one.timeout(DEADLINE).emitWithAck(name, ...args);
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
  for (const one of clients) one.disconnect();
}

const DEADLINE = 20_000;
