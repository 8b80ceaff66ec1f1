// Official clients for the chaos runs: node chaos.mjs <balancer url>... Each connects through every balancer in three ways,
// joins the room of all, emits numbered events, and comes back when its connection ends. What happens is written as lines of
// JSON, [microseconds, what, client, ...]; the lines that are read are orders: "clock", "start", "talk <ms>",
// "quiet".
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const now = () => Number(process.hrtime.bigint() / 1000n);
const say = (...line) => process.stdout.write(`${JSON.stringify([now(), ...line])}\n`);
const filling = (number) => (number % 20 === 0 ? 6000 : number % 20 <= 3 ? 2000 : 100);
const isFilled = (text, number) => text.length === filling(number) && /^x*$/.test(text);
const KINDS = { p: ["polling"], w: ["websocket"], u: ["polling", "websocket"] };
let every = 0;

function start(name, url, transports) {
  const options = { forceNew: true, transports, reconnectionDelay: 100, reconnectionDelayMax: 500, timeout: 5000 };
  const socket = io(url, options);
  let life;
  let lives = 0;
  socket.on("connect", async () => {
    const mine = `${name}.${lives++}`;
    try {
      const pid = await socket.timeout(10_000).emitWithAck("pid");
      say("connect", mine, pid);
      life = { name: mine, number: 0, talks: false };
      say("join", mine);
      const missing = await socket.timeout(10_000).emitWithAck("join", "all");
      if (life?.name !== mine) return;
      say("joined", mine, missing);
      life.talks = true;
    } catch (error) {
      if (life?.name === mine || !life) socket.disconnect().connect();
    }
  });
  socket.on("disconnect", (reason) => {
    if (life) say("end", life.name, reason);
    life = undefined;
  });
  socket.on("msg", ([from, number, fill]) => {
    if (life) say("got", life.name, from, number, isFilled(fill, number));
  });
  const talk = () => {
    setTimeout(talk, every || 50);
    if (!every || !life?.talks || !socket.connected) return;
    const { name: mine, number } = life;
    life.number += 1;
    say("emit", mine, number);
    socket.emit("msg", "all", [mine, number, "x".repeat(filling(number))], () => say("done", mine, number));
  };
  talk();
}

function startAll() {
  process.argv.slice(2).forEach((url, at) => {
    for (const [kind, transports] of Object.entries(KINDS)) start(`o${kind}${at}`, url, transports);
  });
}

for await (const order of createInterface({ input: process.stdin })) {
  const [what, value] = order.split(" ");
  if (what === "start") startAll();
  else if (what === "talk") every = Number(value);
  else if (what === "quiet") every = 0;
  else if (what === "clock") say("clock");
}
process.exit(0);
