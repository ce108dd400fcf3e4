"""The load on a name server: questions of many clients over UDP, in a process of its own; run as a script.

    python tests/bench/dns_load.py '{"port": 5353, "kind": "known", "seconds": 5, "per_s": 0}'

prints one JSON object. With `per_s` 0 a fixed number of questions is on the way at any time (a closed loop: it shows
the server's pace), else questions leave at that rate whatever comes back (an open loop: it shows waiting and loss).
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time

ZONE = b"\5route\7example\3org\0"
WINDOW_COUNT = 64
CLIENTS_COUNT = 2000
LOST_AFTER_S = 1.0
IDS_COUNT = 65_536


def question(name, rdtype, network):
    """A question's bytes behind the id, with a client subnet of /24."""
    subnet = struct.pack("!HHHBB", 8, 7, 1, 24, 0) + network
    opt = struct.pack("!3sHBBHH", b"\0\0\x29", 1232, 0, 0, 0, len(subnet)) + subnet
    return struct.pack("!5H", 0, 1, 0, 0, 1) + name + struct.pack("!HH", rdtype, 1) + opt


def questions(kind, count, seed=7):
    """So many questions: `known` clients come again, `new` ones once, `denied` ask for names that are none."""
    chance = random.Random(seed)
    known = [
        bytes([chance.randrange(1, 224), chance.randrange(256), chance.randrange(256)])
        for _ in range(CLIENTS_COUNT)
    ]
    made = []
    for number in range(count):
        name = b"\4chat" + ZONE
        network = chance.choice(known)
        if kind == "new":
            network = bytes([1 + number // 65_536 % 223, number // 256 % 256, number % 256])
        if kind == "denied":
            name = b"\x0c" + f"{chance.randrange(10**12):012d}".encode() + ZONE
        # What browsers do: one question for each family; and capitals as careful resolvers send them.
        if number % 3 == 0:
            name = name.replace(b"example", b"eXamPle")
        made.append(question(name, 28 if number % 2 else 1, network))
    return made


class Asker:
    """One socket and what is on the way on it."""

    def __init__(self, port, asked):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.asked = asked
        self.sent_count = self.answered_count = self.wrong_count = 0
        self.under_way = {}
        self.waits_s = []

    def send(self):
        number = self.sent_count % IDS_COUNT
        try:
            self.socket.send(struct.pack("!H", number) + self.asked[self.sent_count % len(self.asked)])
        except BlockingIOError:
            return
        self.under_way[number] = time.perf_counter()
        self.sent_count += 1

    def receive(self, patience_s):
        """Take in what has come; whether anything has."""
        if not select.select([self.socket], [], [], max(0.0, patience_s))[0]:
            return False
        for _ in range(WINDOW_COUNT):
            try:
                answer = self.socket.recv(2048)
            except BlockingIOError:
                break
            since_s = self.under_way.pop(answer[0] << 8 | answer[1], None)
            if since_s is not None:
                self.answered_count += 1
                self.waits_s.append(time.perf_counter() - since_s)
                self.wrong_count += answer[3] & 15 not in {0, 3} or (answer[3] & 15 == 0 and answer[7] == 0)
        return True


def closed(asker, seconds):
    ends_s = time.perf_counter() + seconds
    while time.perf_counter() < ends_s:
        while len(asker.under_way) < WINDOW_COUNT:
            asker.send()
        if not asker.receive(LOST_AFTER_S):
            asker.under_way.clear()


def opened(asker, seconds, per_s):
    began_s = time.perf_counter()
    while (past_s := time.perf_counter() - began_s) < seconds:
        while asker.sent_count < past_s * per_s:
            asker.send()
        asker.receive(0.0005)
    while asker.under_way and asker.receive(LOST_AFTER_S):
        pass


def main():
    wanted = json.loads(sys.argv[1])
    made = questions(wanted["kind"], 2_000_000 if wanted["kind"] == "new" else 50_000)
    asker = Asker(wanted["port"], made)
    print("ready", flush=True)
    sys.stdin.readline()
    began_s = time.perf_counter()
    if wanted["per_s"]:
        opened(asker, wanted["seconds"], wanted["per_s"])
    else:
        closed(asker, wanted["seconds"])
    took_s = time.perf_counter() - began_s
    waits_s = sorted(asker.waits_s) or [float("inf")]
    result = {
        "sent_count": asker.sent_count,
        "answered_count": asker.answered_count,
        "wrong_count": asker.wrong_count,
        "per_s": asker.answered_count / took_s,
        "p50_ms": 1000 * waits_s[len(waits_s) // 2],
        "p99_ms": 1000 * waits_s[len(waits_s) * 99 // 100],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
