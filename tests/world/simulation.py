"""The simulated world: clients, routers and nodes as events on a virtual clock, every draw from one seed.

Routing is the real code (`origin.fleet`, `origin.geo`), and so is the rule by which a node hands a request on
(`edge_node.handing_on`). What is simulated is the traffic, the time on the wire, and the work in the nodes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

from edge_node.client.call import Journey
from edge_node.handing_on import Offer, Standing, hand_on
from origin.fleet import Fleet, FleetRules
from origin.prefixes import Mark
from tests.world.policies import HANDS_ON, POLICIES, Course, Router
from tests.world.simulated_nodes import Node, Work

_REPORT_TRAVEL_S = 0.05
_ROUND_TRIPS = 2  # TCP and the request, for every policy alike
_MARK_BYTES = 1024
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is simulated.

    Attributes:
        sites: the cities where nodes stand.
        load_share: what the clients ask for, of what the nodes can do.
        clients: cities and how much of everything comes from each; None for all but sites, countries alike.
        prompt_tokens: the least and the most that a session begins with.
        answer_tokens: the mean; they are distributed exponentially.
        crash: at which share of the time a node goes away, and at which it comes back.
    """

    speeds: object
    sites: tuple[int, ...]
    load_share: float = 0.6
    heartbeat_s: float = 1.0
    routers_count: int = 4
    requests_count: int = 4000
    models_count: int = 6
    resident_count: int = 2
    slots: tuple[int, ...] = (4, 8, 16)
    sessions_share: float = 0.7
    clients: tuple[tuple[int, float], ...] | None = None
    prompt_tokens: tuple[int, int] = (50, 600)
    answer_tokens: float = 110
    seed: int = 11
    crash: tuple[float, float] | None = None


@dataclass(slots=True)
class Request:
    number: int
    client: int
    model: str
    session: str
    prompt_tokens: int
    prompt_bytes: int
    answer_tokens: int
    marks: tuple[Mark, ...]
    asked_s: float
    tried: frozenset[str] = frozenset()
    course: Course | None = None
    journey: Journey | None = None


@dataclass
class Outcome:
    """What came of it: seconds to the first token of each request, when it was asked, and where it was answered."""

    answered: list[tuple[float, float, str]] = field(default_factory=list)
    handed_on_count: int = 0
    lost_count: int = 0
    loads_count: int = 0
    arrivals: list[tuple[float, str]] = field(default_factory=list)
    crashed: str = ""

    def quantile_s(self, share, since_s=0.0):
        times_s = sorted(ttft for ttft, asked_s, _ in self.answered if asked_s >= since_s)
        return times_s[min(len(times_s) - 1, int(share * len(times_s)))]

    def mean_s(self):
        return sum(ttft for ttft, _, _ in self.answered) / len(self.answered)


class Simulation:
    def __init__(self, scene, world, policy):
        self.scene, self.world, self.policy = scene, world, POLICIES[policy]
        self.hands_on = policy in HANDS_ON
        self.rng = rng = random.Random(scene.seed)
        self.models = [f"model-{number}" for number in range(scene.models_count)]
        self.popularity = [1 / (rank + 1) for rank in range(scene.models_count)]
        self.nodes = self._settle(rng)
        self.by_id = {node.node_id: node for node in self.nodes}
        self.routers = [
            Router(Fleet(FleetRules(heartbeat_s=scene.heartbeat_s)), world, self.nodes, random.Random(number))
            for number in range(scene.routers_count)
        ]
        self.outcome = Outcome()
        self.now_s = 0.0
        self._events = []
        self._numbers = itertools.count()
        self.requests = self._requests(rng)
        self.end_s = self.requests[-1].asked_s

    def run(self):
        for request in self.requests:
            self._at(request.asked_s, self._ask, request)
        for node in self.nodes:
            for router in self.routers:
                router.hear(node.report(0.0), 0.0)
            self._at(self.rng.uniform(0, self.scene.heartbeat_s), self._beat, node)
        if self.scene.crash is not None:
            node = max(self.nodes, key=lambda it: it.slots)
            self.outcome.crashed = node.node_id
            self._at(self.scene.crash[0] * self.end_s, self._crash, node)
            self._at(self.scene.crash[1] * self.end_s, self._return, node)
        while self._events:
            self.now_s, _, act, args = heapq.heappop(self._events)
            act(*args)
        return self.outcome

    def _at(self, time_s, act, *args):
        heapq.heappush(self._events, (time_s, next(self._numbers), act, args))

    # ---- traffic

    def _settle(self, rng):
        """Nodes, each with the models in memory that are furthest from having the slots that their demand needs."""
        scene, nodes = self.scene, []
        slots = [rng.choice(scene.slots) for _ in scene.sites]
        wanted = {
            model: share / sum(self.popularity) * sum(slots) * scene.resident_count
            for model, share in zip(self.models, self.popularity, strict=True)
        }
        for number in sorted(range(len(slots)), key=lambda it: -slots[it]):
            resident = sorted(self.models, key=lambda model: -wanted[model])[: scene.resident_count]
            for model in resident:
                wanted[model] -= slots[number]
            city = scene.sites[number]
            nodes.append(
                Node(
                    number, city, self.world.cities[city].place, slots=slots[number], speeds=scene.speeds,
                    models=self.models, resident=resident,
                )
            )  # fmt: skip
        return nodes

    def _requests(self, rng):
        """Sessions of several turns, each prompt the last one and more; for a third of the time, the west asks more."""
        scene, world = self.scene, self.world
        clients = [n for n in range(len(world.cities)) if n not in scene.sites]
        clients = [n for n in clients if all(world.rtt_ms[n][site] is not None for site in scene.sites)]
        of_country = {}
        for n in clients:
            of_country.setdefault(world.cities[n].country or n, []).append(n)
        weight = {n: 1 / len(members) for members in of_country.values() for n in members}
        plain = [weight[n] for n in clients]
        if scene.clients is not None:
            clients, plain = map(list, zip(*scene.clients, strict=True))
            weight = dict(scene.clients)
        west = [weight[n] * (6 if world.in_north_america(n) else 1) for n in clients]
        requests, sessions, now_s = [], [], 0.0
        for number in range(scene.requests_count):
            now_s += rng.expovariate(1.0)
            in_west = scene.requests_count // 3 <= number < 2 * scene.requests_count // 3
            if sessions and rng.random() < scene.sessions_share:
                session = sessions.pop(rng.randrange(len(sessions)))
            else:
                model = rng.choices(self.models, self.popularity)[0]
                client = rng.choices(clients, west if in_west else plain)[0]
                session = [f"s{number}", model, client, rng.randrange(*scene.prompt_tokens)]
            name, model, client, tokens = session
            requests.append(self._request(number, rng, now_s, name, model, client, tokens))
            session[3] = tokens + requests[-1].answer_tokens + rng.randrange(10, 120)
            if session[3] < 2500:
                sessions.append(session)
                del sessions[:-200]
        rate_per_s = scene.load_share * self._capacity_per_s(requests)
        for request in requests:
            request.asked_s /= rate_per_s
        return requests

    def _capacity_per_s(self, requests):
        """What all nodes can do with full batches, when each of these prompts is read from its beginning."""
        tokens = {
            "prompt_tokens": sum(it.prompt_tokens for it in requests) / len(requests),
            "answer_tokens": sum(it.answer_tokens for it in requests) / len(requests),
        }
        return sum(
            node.power / node.speeds.seconds_a_request(**tokens, rows_count=node.slots) for node in self.nodes
        )

    def _request(self, number, rng, now_s, session, model, client, prompt_tokens):
        prompt_bytes = prompt_tokens * _BYTES_PER_TOKEN
        marks = tuple(
            Mark(random.Random(f"{session} {block}").getrandbits(32), (block + 1) * _MARK_BYTES)
            for block in range(prompt_bytes // _MARK_BYTES)
        )
        mean = self.scene.answer_tokens
        answer_tokens = min(int(6 * mean), max(8, int(rng.expovariate(1 / mean))))
        return Request(
            number, client, model, session, prompt_tokens, prompt_bytes, answer_tokens, marks, now_s
        )

    def _beat(self, node):
        if self.now_s > self.end_s:
            return
        if node.alive:
            report = node.report(self.now_s)
            for router in self.routers:
                self._at(self.now_s + _REPORT_TRAVEL_S, router.hear, report, self.now_s + _REPORT_TRAVEL_S)
        self._at(self.now_s + self.scene.heartbeat_s * self.rng.uniform(0.95, 1.05), self._beat, node)

    # ---- a request on its way

    def _ask(self, request):
        router = self.routers[request.number % len(self.routers)]
        self._came_back(request)
        course = self.policy(router, request, self.now_s, request.tried)
        if course is None:
            self.outcome.lost_count += 1
            return
        request.course = course
        if course.sdk is not None:
            request.journey = Journey(None)
            course.sdk.set_out(request.journey)
        self._send(request, course.here, frozenset())

    @staticmethod
    def _came_back(request):
        if request.journey is not None:
            request.course.sdk.came_back(request.journey)

    def _send(self, request, here, tried):
        stops = request.course.stops
        node = self.by_id[stops[here].node_id]
        rtt_s = self.world.rtt_ms[request.client][node.city] / 1000
        if not node.alive:  # found out by the time-out; then asked for anew without it
            request.tried |= {node.node_id}
            for router in self.routers[request.number % len(self.routers) :][:1]:
                router.fleet.note_failed(node.node_id, str(request.client), self.now_s)
            self._at(self.now_s + min(max(3 * rtt_s, 0.15), 1.0), self._ask, request)
            return
        if request.journey is not None:
            request.journey.node = stops[here]
        arrives_s = self.now_s + (_ROUND_TRIPS - 0.5) * rtt_s
        self._at(arrives_s, self._arrive, request, node, here, tried)

    def _arrive(self, request, node, here, tried):
        lane = node.lanes[request.model]
        rtt_s = self.world.rtt_ms[request.client][node.city] / 1000
        if self.hands_on:
            standing = Standing(wait_s=lane.wait_s(self.now_s), load_s=lane.load_left_s(self.now_s))
            elsewhere = hand_on(Offer(request.course.stops, here, tried, request.course.passed_by), standing)
            if elsewhere is not None:
                self.outcome.handed_on_count += 1
                self._at(self.now_s + rtt_s / 2, self._send, request, elsewhere.to, tried | {here})
                return
        self.outcome.arrivals.append((self.now_s, node.node_id))
        lane.note_arrival(self.now_s)
        if lane.open:
            lane.queue.append(request)
            self._work(lane)
            return
        lane.waiting.append(request)
        if (lane.state == "asleep" or lane.gives_way) and lane not in node.waking:
            node.waking.append(lane)
            self._wake(node)

    def _wake(self, node):
        """Load what is to be loaded, one after the other, as there is room (`edge_node.wakening`)."""
        while node.waking:
            lane = node.waking[0]
            if lane.state == "asleep":
                room = node.make_room(self.now_s)
                if not room.fits:
                    if room.look_again_s is not None:
                        self._at(room.look_again_s, self._wake, node)
                    return
                self.outcome.loads_count += 1
                lane.state, lane.loaded_s = "loading", self.now_s
                lane.used_s, lane.ready_at_s = self.now_s, self.now_s + node.speeds.load_s
                self._at(lane.ready_at_s, self._loaded, lane)
            lane.gives_way = False
            node.waking.popleft()
            self._let_in(lane)

    def _let_in(self, lane):
        """Give the model to those that wait for it."""
        if lane.open:
            lane.queue.extend(lane.waiting)
            lane.waiting.clear()
            self._work(lane)

    def _work(self, lane):
        while lane.queue and lane.busy < lane.slots:
            request = lane.queue.popleft()
            lane.at_work.append(Work(request, lane.unread_tokens(request), self.now_s))
            lane.remember(request)
        if not lane.stepping and lane.at_work:
            self._step(lane)

    def _step(self, lane):
        lane.stepping = True
        answers, parts, took_s = lane.next_step()
        self._at(self.now_s + took_s, self._stepped, lane, answers, parts, took_s)

    def _stepped(self, lane, answers, parts, took_s):
        node, lane.stepping = lane.node, False
        first, done = lane.stepped(answers, parts, took_s)
        for work in first:
            rtt_s = self.world.rtt_ms[work.request.client][node.city] / 1000
            first_s = self.now_s + rtt_s / 2 - work.request.asked_s
            self.outcome.answered.append((first_s, work.request.asked_s, node.node_id))
        for work in done:
            lane.at_work.remove(work)
            lane.measured(work, self.now_s)
            self._came_back(work.request)
            lane.used_s = self.now_s
        self._work(lane)
        if done:
            self._wake(node)

    def _loaded(self, lane):
        if lane.node.lanes[lane.model] is lane:
            lane.state = "ready"
            self._let_in(lane)
            self._wake(lane.node)

    # ---- a crash

    def _crash(self, node):
        node.alive = False
        for lane in node.lanes.values():
            for request in [*lane.queue, *lane.waiting]:
                self._ask(request)
            lane.queue.clear()
            lane.waiting.clear()

    def _return(self, node):
        node.restart()
        node.alive = True


def simulate(scene, world, policy):
    """One run; the same arguments give the same outcome."""
    return Simulation(scene, world, policy).run()
