// node server.mjs REDIS: one node. It says `listening ADDRESS` when it is ready.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: `redis://${process.argv[2]}` });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) client.on("error", console.error);
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer((_, response) => response.writeHead(404).end());
const io = new Server(http, { adapter: createAdapter(publisher, subscriber), serveClient: false });
io.on("connection", (socket) => {
  socket.on("join", async (room, ack) => {
    await socket.join(room);
    ack();
  });
  socket.on("msg", (room, payload) => void socket.to(room).emit("msg", payload));
  socket.on("direct", (id, payload, ack) => {
    socket.to(id).emit("direct", payload);
    ack?.();
  });
  socket.on("echo", (payload, ack) => ack(payload));
});
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(`listening 127.0.0.1:${http.address().port}`));
