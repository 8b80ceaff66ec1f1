"""python3 clients.py sync|asyncio polling|websocket|polling,websocket <entry url> <node url>...

What python-socketio does against a cluster, through a stateless round-robin load balancer: acks and bytes both ways, rooms, and the
same again on another node after the one that owned its session was killed.
"""
import asyncio
import os
import queue
import signal
import sys

import socketio

DEADLINE = 20
PATIENT = {"reconnection": True, "reconnection_delay": 0.05, "reconnection_delay_max": 0.5}


class Heard:
    """What a client heard, whichever thread it hears with."""

    def __init__(self, what):
        self.what = what
        self.items = queue.SimpleQueue()

    async def next(self):
        try:
            return await asyncio.to_thread(self.items.get, True, DEADLINE)
        except queue.Empty:
            raise AssertionError(f"waited {DEADLINE} s for {self.what}") from None


class Sync:
    """`socketio.Client`, which has threads of its own."""

    def __init__(self, **options):
        self.io = socketio.Client(**options)
        self.connects, self.messages, self.mirrored = Heard("connect"), Heard("msg"), Heard("mirrored")
        self.io.on("connect", lambda: self.connects.items.put(None))
        self.io.on("msg", self.messages.items.put)
        self.io.on("mirrored", self.mirrored.items.put)
        self.io.on("question", lambda payload: payload)

    async def connect(self, url, transports):
        await asyncio.to_thread(self.io.connect, url, transports=transports, wait_timeout=DEADLINE)
        await self.connects.next()

    async def emit(self, event, data):
        await asyncio.to_thread(self.io.emit, event, data)

    async def call(self, event, data=None):
        return await asyncio.to_thread(lambda: self.io.call(event, data, timeout=DEADLINE))

    async def disconnect(self):
        await asyncio.to_thread(self.io.disconnect)


class Asyncio:
    """`socketio.AsyncClient`."""

    def __init__(self, **options):
        self.io = socketio.AsyncClient(**options)
        self.connects, self.messages, self.mirrored = Heard("connect"), Heard("msg"), Heard("mirrored")

        async def connected():
            self.connects.items.put(None)

        async def message(payload):
            self.messages.items.put(payload)

        async def mirrored(payload):
            self.mirrored.items.put(payload)

        async def question(payload):
            return payload

        self.io.on("connect", connected)
        self.io.on("msg", message)
        self.io.on("mirrored", mirrored)
        self.io.on("question", question)

    async def connect(self, url, transports):
        await self.io.connect(url, transports=transports, wait_timeout=DEADLINE)
        await self.connects.next()

    async def emit(self, event, data):
        await self.io.emit(event, data)

    async def call(self, event, data=None):
        return await self.io.call(event, data, timeout=DEADLINE)

    async def disconnect(self):
        await self.io.disconnect()


def same(given, expected):
    assert given == expected, f"{given!r:.200} for {expected!r:.200}"


async def talks(one):
    """Acks and bytes, each way."""
    for value in [0, "", None, True, [1, [2]], {"a": {"b": "c"}}, "€ 😀", 1.5, "x" * 100_000]:
        same(await one.call("echo", value), value)
    same(await asyncio.gather(*(one.call("echo", n) for n in range(10))), list(range(10)))
    data = bytes(n * 31 % 256 for n in range(100_000))
    same(await one.call("echo", data), data)
    same(await one.call("echo", {"a": [data[:7], "text", {"b": b""}]}), {"a": [data[:7], "text", {"b": b""}]})
    await one.emit("mirror", data)
    same(await one.mirrored.next(), data)
    for value in ["€ 😀", {"a": [1, 2]}, {"bytes": data[:300]}]:
        same(await one.call("ask", value), value)


async def shares_a_room(one, others, room):
    """It is heard by clients of every node, and hears them."""
    await one.call("join", room)
    for other in others:
        await other.call("join", room)
    await one.emit("msg", (room, {"from": "one", "bytes": b"\x00\x04\xff"}))
    for other in others:
        same(await other.messages.next(), {"from": "one", "bytes": b"\x00\x04\xff"})
    for number, other in enumerate(others):
        await other.emit("msg", (room, number))
        same(await one.messages.next(), number)
        for third in others:
            if third is not other:
                same(await third.messages.next(), number)


async def main(flavour, transports, entry, *nodes):
    client = {"sync": Sync, "asyncio": Asyncio}[flavour]
    transports = transports.split(",")
    one = client(**PATIENT)
    await one.connect(entry, transports)
    same(one.io.transport(), transports[-1])

    residents = {}
    for node in nodes:
        resident = client(reconnection=False)
        await resident.connect(node, ["websocket"])
        residents[await resident.call("pid")] = resident
    assert len(residents) == len(nodes), residents
    await talks(one)
    await shares_a_room(one, list(residents.values()), "before")

    owner = await one.call("pid")
    del residents[owner]
    # The process that calls itself by this id was started by the test.
    os.kill(owner, signal.SIGKILL)
    await one.connects.next()
    assert await one.call("pid") in residents, "it is on another node"
    same(one.io.transport(), transports[-1])
    await talks(one)
    await shares_a_room(one, list(residents.values()), "after")
    for each in [one, *residents.values()]:
        await each.disconnect()


asyncio.run(main(*sys.argv[1:]))
print("ok", flush=True)
# Not waiting for threads that the killed node's clients left behind.
os._exit(0)
