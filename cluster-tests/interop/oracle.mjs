// node oracle.mjs <suite>: the servers of `src/fixture.rs` on Node's own implementation. It prints its port when it is
// ready, and ends with its standard input.
import { createServer } from "node:http";
import { Server as Engine } from "engine.io";
import { Server as Io } from "socket.io";

const cors = { origin: "*" };
const fast = { pingInterval: 300, pingTimeout: 200, cors };
const patient = { allowEIO3: true, cors };
const connectTimeout = 1000;
const suites = {
  "engine": (http) => echo(http, fast),
  "engine-v3": (http) => echo(http, { ...fast, allowEIO3: true }),
  "engine-v3-patient": (http) => echo(http, patient),
  "socket": (http) => greeted(new Io(http, { ...fast, connectTimeout })),
  "socket-v3": (http) => version3(http, patient),
  "socket-v3-join-soon": (http) => version3(http, { ...patient, connectTimeout }),
  "recovery": (http) => {
    const io = new Io(http, { ...patient, connectionStateRecovery: {} });
    for (const path of ["/", "/custom"]) recoverable(io.of(path));
  },
  "bench": (http) => rooms(new Io(http, { ...patient, maxHttpBufferSize: 4_000_000 }).of("/")),
};

function echo(http, options) {
  const engine = new Engine(options);
  engine.attach(http, { path: "/engine.io" });
  engine.on("connection", (session) => session.on("message", (message) => session.send(message)));
}

function greeted(io) {
  for (const namespace of [io.of("/"), io.of("/custom")]) {
    namespace.on("connection", (socket) => socket.emit("auth", socket.handshake.auth));
  }
  handle(io.of("/"), "message", (socket, ...args) => void socket.emit("message-back", ...args));
  handle(io.of("/"), "message-with-ack", (_, ...args) => args);
  return io;
}

function version3(http, options) {
  const io = greeted(new Io(http, options));
  rooms(io.of("/rooms"));
  guarded(io.of("/guarded"));
}

function guarded(namespace) {
  namespace.use((socket, next) => {
    const { word } = socket.handshake.auth;
    if (word === "please") return next();
    if (typeof word !== "string") return next(new Error("invalid auth"));
    next(Object.assign(new Error("wrong word"), { data: word.length }));
  });
}

function rooms(namespace) {
  handle(namespace, "join", (socket, room) => (socket.join(room), [[]]));
  handle(namespace, "leave", (socket, room) => void socket.leave(room));
  handle(namespace, "msg", (socket, room, payload) => void socket.to(room).emit("msg", payload));
  handle(namespace, "direct", (socket, sid, payload) => void socket.to(sid).emit("direct", payload));
  handle(namespace, "echo", (_, payload) => [payload]);
  handle(namespace, "whoami", (socket) => [socket.id]);
  handle(namespace, "mirror", (socket, payload) => void socket.emit("mirrored", payload));
  handle(namespace, "pid", () => [process.pid]);
}

let visits = 0;

function recoverable(namespace) {
  // One for each handler.
  namespace.setMaxListeners(20);
  namespace.use((socket, next) => {
    Object.assign(socket.data, { number: visits++, mark: "" });
    next();
  });
  handle(namespace, "join", (socket, room) => void socket.join(room));
  handle(namespace, "mark", (socket, mark) => void (socket.data.mark = mark));
  handle(namespace, "state", ({ id, recovered, rooms, data }) =>
    [[recovered, [...rooms].filter((room) => room !== id).sort(), data.number, data.mark]]);
  handle(namespace, "mirror", (socket, payload) => void socket.emit("mirrored", payload));
  handle(namespace, "volatile", (socket, payload) => void socket.volatile.emit("mirrored", payload));
  handle(namespace, "ask", (socket, payload) => void socket.emit("question", payload, () => {}));
  handle(namespace, "all", (_, payload) => void namespace.emit("all", payload));
  handle(namespace, "msg", (socket, room, payload) => void socket.to(room).emit("msg", payload));
  handle(namespace, "present", (_, id) => [namespace.sockets.has(id) ? 1 : 0]);
  handle(namespace, "leave me", (socket) => void socket.disconnect());
  handle(namespace, "close me", (socket) => void socket.disconnect(true));
}

/** What a handler returns are the arguments of the ack, which every client gets that asked for one. */
function handle(namespace, event, handler) {
  namespace.on("connection", (socket) => {
    socket.on(event, (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
      ack(...(handler(socket, ...args) ?? []));
    });
  });
}

const [suite] = process.argv.slice(2);
if (!(suite in suites)) {
  console.error(`usage: node oracle.mjs ${Object.keys(suites).join("|")}`);
  process.exit(64);
}
const http = createServer((_, response) => response.writeHead(404).end());
suites[suite](http);
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
