import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { Agent as PlainAgent, createServer, type IncomingMessage, request as requestPlainly, type ServerResponse } from "node:http";
import { Agent as SecureAgent, request as requestSecurely } from "node:https";
import { type ClientHttp2Session, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import type { ContainerAddress } from "../../gateway/contract.ts";
import { eventually } from "../fixtures/eventually.ts";
import { ADA } from "../fixtures/directory.ts";
import { SOCKET_KINDS, type SocketKind } from "../fixtures/connections.ts";
import { openHttp2Stand } from "../gateway/http2/fixture.ts";
import { type GatewayFixture, openStand } from "../gateway/stand.ts";
import { bodyOf } from "../soak/mixed/plan.ts";
import { numbers } from "./numbers.ts";

// `npm run fuzz -- moving` goes on for minutes, from another seed.
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 3);
const CLIENTS = 24;
const HANGS_MS = 40_000;
const IDS = Array.from({ length: 5 }, (_, nth) => `00000000-0000-4000-8000-${String(nth + 1).padStart(12, "0")}`);

type Draw = (below: number) => number;

/** One address: at any time, at most one container listens there. */
type Slot = {
  address: ContainerAddress;
  /** The container that has it, also when it is dead and the gateway may not know. */
  owner: string | undefined;
  /** Each container has a listener of its own, as the kernel resets what waits at that of a dead one. */
  listen(owner: string): void;
  kill(): void;
};

type World = { slots: Slot[]; failures: Set<string>; below: Draw };

const KINDS: { name: string; sockets: SocketKind; secured: boolean }[] = [
  ...SOCKET_KINDS.map((sockets) => ({ name: `sockets of ${sockets}`, sockets, secured: false })),
  { name: "TLS, with HTTP/2", sockets: "ffi", secured: true },
];

for (const { name, sockets, secured } of KINDS) {
  t.test(`containers that move between addresses, on ${name}, seed ${SEED}`, { timeout: (SECONDS + 240) * 1_000 }, async (t) => {
    const below = numbers(SEED);
    const failures = new Set<string>();
    const limits = {
      connectionsPerAddress: 5_000,
      proxyRequestTimeoutMs: 3_000,
      suspectAddressMs: 50,
      upstreamIdleMs: 400,
      keepAliveTimeoutMs: 3_000,
    };
    const secure = secured ? await openHttp2Stand(t, { limits, sockets }) : undefined;
    const stand: GatewayFixture = secure ?? (await openStand(t, { limits, sockets }));
    const world: World = { slots: await Promise.all(Array.from({ length: 9 }, (_, nth) => openSlot(t, nth, failures, below))), failures, below };
    const before = openDescriptors();

    const tokens = Array.from({ length: 4 }, (_, nth) => `token${nth}`);
    for (const token of tokens) stand.tokens.set(token, { ...ADA, userId: `user of ${token}` });
    const agent = secured ? new SecureAgent({ keepAlive: true, rejectUnauthorized: false }) : new PlainAgent({ keepAlive: true });
    const until = performance.now() + SECONDS * 1_000;
    const isPlaying = () => performance.now() < until;
    const ends = new Map<string, number>();
    let played = 0;
    const client = async (nth: number) => {
      const speaksHttp2 = secure !== undefined && nth % 2 === 0;
      let session: ClientHttp2Session | undefined;
      while (isPlaying() && failures.size < 10) {
        if (speaksHttp2 && (session === undefined || session.closed || session.destroyed)) session = secure.session();
        const id = IDS[below(IDS.length)] as string;
        const name = `${nth}.${played++}`;
        const token = tokens[below(tokens.length)] as string;
        const target = { port: stand.port, secured, agent, session: speaksHttp2 ? session : undefined };
        const act = below(6) === 0 ? playWebSocket(target, { id, name, token, below }) : playRequest(target, { id, name, token, below });
        const result = await Promise.race([act, sleep(HANGS_MS, { end: "hangs", fault: "hangs" }, { ref: false })]);
        if (result.fault !== undefined) failures.add(`${name} for ${id}: ${result.fault}`);
        ends.set(result.end, (ends.get(result.end) ?? 0) + 1);
      }
      session?.close();
    };
    const changes = change(stand, world, tokens, isPlaying);
    const clients = Array.from({ length: CLIENTS }, (_, nth) => client(nth));
    await Promise.all(clients);
    await changes;
    agent.destroy();

    t.same([...failures], []);
    t.comment(`${played} exchanges: ${JSON.stringify([...ends].toSorted((one, other) => other[1] - one[1]))}`);
    const left = () => IDS.map((id) => ({ id, open: stand.openAt(id), use: stand.uses.get(id), watchers: stand.watchers(id) }));
    await eventually(
      () => `all leases to be released: ${JSON.stringify(left())}`,
      () => left().every(({ open }) => open.count === 0),
    );
    for (const { use } of left()) if (use) t.match(use, { open: 0, streams: 0 });
    await eventually(
      () => `all watches to end: ${JSON.stringify(left())}`,
      () => left().every(({ watchers }) => watchers === 0),
    );
    for (const slot of world.slots) slot.kill();
    await eventually(
      () => `all descriptors to close: ${added(openDescriptors(), before).join(", ")}`,
      () => added(openDescriptors(), before).length === 0,
    );
  });
}

/** Moves containers: they start, stop, die, get and lose replicas; and users sign out. */
async function change(stand: GatewayFixture, { slots, below }: World, tokens: string[], isPlaying: () => boolean): Promise<void> {
  const versions = new Map<string, Slot[]>(IDS.map((id) => [id, []]));
  const publish = (id: string, kind: "coming" | "asleep" = "coming") => {
    const used = versions.get(id) ?? [];
    const isReplicated = used.length > 1 || below(4) === 0;
    const addresses = used.map(({ address }, nth) => ({
      // As they come from control: no other container has had the object.
      ...address,
      ...(isReplicated ? { replica: nth + 1, ...(nth > 0 ? { owner: `${id}/${nth}` } : {}) } : {}),
    }));
    stand.publish({
      id,
      name: `demo-${id.slice(-1)}`,
      availability: addresses.length > 0 ? { kind: "awake", addresses } : { kind },
      ...(isReplicated && addresses.length > 0 ? { replicas: below(2) === 0 ? { affinity: "cookie" } : {} } : {}),
      ...(id === IDS[1] ? { maxConcurrency: 1 + below(4) } : {}),
    });
  };
  const start = (id: string) => {
    const slot = slots.filter(({ owner }) => owner === undefined).at(below(4));
    if (slot === undefined) return;
    slot.listen(id);
    versions.get(id)?.push(slot);
    publish(id);
  };
  const waking = new Set<string>();
  stand.onWake((id) => {
    if (waking.has(id) || versions.get(id)?.length !== 0) return;
    waking.add(id);
    publish(id);
    setTimeout(() => {
      waking.delete(id);
      if (versions.get(id)?.length === 0) start(id);
    }, below(40));
  });
  for (const id of IDS) start(id);
  let renamed = 0;
  while (isPlaying()) {
    await sleep(below(25));
    const id = IDS[below(IDS.length)] as string;
    const used = versions.get(id) ?? [];
    const what = below(10);
    if (what < 4 && used.length > 0) {
      // It dies, or is stopped: the gateway learns that before another container gets the address.
      const at = below(used.length);
      const [slot] = used.splice(at, 1) as [Slot];
      const isGraceful = below(2) === 0;
      if (isGraceful) {
        publish(id, below(2) === 0 ? "asleep" : "coming");
        await sleep(below(8));
        slot.kill();
      } else {
        slot.kill();
        await sleep(below(4));
        publish(id, below(2) === 0 ? "asleep" : "coming");
      }
      slot.owner = undefined;
    } else if (what < 8) {
      if (used.length < 3) start(id);
    } else if (what === 8) publish(id);
    else {
      const token = tokens[below(tokens.length)] as string;
      stand.signOut(token);
      const at = tokens.indexOf(token);
      tokens[at] = `token${++renamed}-${at}`;
      stand.tokens.set(tokens[at], { ...ADA, userId: `user ${at}` });
    }
  }
  // Who waits is served.
  for (const id of IDS) if (versions.get(id)?.length === 0) start(id);
}

type Plan = { want: string; name: string; bytes: number; chunked: boolean; early: boolean; late: number; fault: "none" | "reset" | "break" };

/** A container of HTTP/1.1, or of h2c, at an address of its own. It answers for the container that owns it at that moment. */
async function openSlot(t: Test, nth: number, failures: Set<string>, below: Draw): Promise<Slot> {
  const h2c = nth % 4 === 3;
  const answer = (request: IncomingMessage, response: ServerResponse, owner: string) => {
    const plan = JSON.parse(String(request.headers["x-plan"])) as Plan;
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    if (owner !== plan.want) {
      failures.add(`${plan.name} for ${plan.want} came to ${owner}`);
      return void request.socket.destroy();
    }
    let size = 0;
    let same = true;
    const sent = bodyOf(`${plan.name} sent`, Number(request.headers["x-bytes"] ?? 0));
    request.on("data", (piece: Buffer) => {
      same &&= piece.equals(sent.subarray(size, size + piece.length));
      size += piece.length;
      if (!same) failures.add(`${plan.name}: the container got other bytes`);
    });
    request.once("end", () => {
      if (size !== sent.length && !isBroken(request)) failures.add(`${plan.name}: the container got ${size} of ${sent.length} bytes, and the end`);
    });
    const go = async () => {
      await sleep(plan.late);
      if (plan.fault === "reset") return void request.socket.destroy();
      const body = bodyOf(plan.name, plan.bytes);
      response.writeHead(200, { "x-name": plan.name, "x-owner": owner, ...(plan.chunked ? {} : { "content-length": String(body.length) }) });
      if (plan.fault === "break") return void response.write(body.subarray(0, body.length / 2), () => request.socket.destroy());
      for (let at = 0; at < body.length && !response.destroyed;) {
        const end = Math.min(body.length, at + 1 + below(200_000));
        if (!response.write(body.subarray(at, end)))
          await new Promise<void>((resolve) => void response.once("drain", resolve).once("close", resolve));
        at = end;
      }
      response.end();
    };
    if (plan.early) void go().catch(() => undefined);
    else request.once("end", () => void go().catch(() => undefined));
  };
  const webSockets = new WebSocketServer({ noServer: true });
  const upgrade = (request: IncomingMessage, socket: Socket, head: Buffer, owner: string) => {
    const want = request.headers["x-want"];
    if (owner !== want) {
      failures.add(`a WebSocket for ${String(want)} came to ${owner}`);
      return void socket.destroy();
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => undefined);
      webSocket.on("message", (message: Buffer) => webSocket.send(`${owner} ${String(message)}`));
    });
  };
  const open = (owner: string) => {
    const onRequest = (request: IncomingMessage, response: ServerResponse) => answer(request, response, owner);
    const server = (h2c
      ? createHttp2Server({}, onRequest as never)
      : createServer({ keepAliveTimeout: 300 + below(400) }, onRequest)) as unknown as Server;
    const sockets = new Set<Socket>();
    server.on("connection", (socket: Socket) => {
      sockets.add(socket.on("error", () => undefined));
      socket.once("close", () => sockets.delete(socket));
    });
    server.on("sessionError", () => undefined);
    server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => upgrade(request, socket, head, owner));
    server.listen(slot.address.port, slot.address.host);
    return {
      server,
      close: () => {
        server.close();
        for (const socket of sockets)
          if (below(2) === 0) socket.destroy();
          else socket.resetAndDestroy();
      },
    };
  };
  let current: ReturnType<typeof open> | undefined;
  const slot: Slot = {
    address: { host: `127.0.2.${nth + 1}`, port: 0, ...(h2c ? { h2c: true as const } : {}) },
    owner: undefined,
    listen: (owner) => {
      slot.owner = owner;
      current = open(owner);
    },
    kill: () => {
      current?.close();
      current = undefined;
    },
  };
  const first = open("");
  await once(first.server, "listening");
  slot.address = { ...slot.address, port: (first.server.address() as AddressInfo).port };
  first.close();
  t.teardown(() => slot.kill());
  return slot;
}

/** Node ends the body of a request whose stream was reset, too. */
function isBroken(request: IncomingMessage): boolean {
  const { stream } = request as { stream?: ServerHttp2Stream };
  return request.destroyed || (stream !== undefined && (stream.aborted || stream.rstCode !== 0));
}

type Target = { port: number; secured: boolean; agent: PlainAgent | SecureAgent; session: ClientHttp2Session | undefined };
type Played = { id: string; name: string; token: string; below: Draw };
type Result = { end: string; fault?: string | undefined };

function someBytes(below: Draw): number {
  return below(6) === 0 ? below(1_200_000) : below(3_000);
}

async function playRequest({ port, secured, agent, session }: Target, { id, name, token, below }: Played): Promise<Result> {
  const method = ["GET", "GET", "POST", "PUT", "DELETE"][below(5)] as string;
  const upload = method === "POST" || method === "PUT" ? bodyOf(`${name} sent`, someBytes(below)) : undefined;
  const plan: Plan = {
    want: id,
    name,
    bytes: someBytes(below),
    chunked: below(2) === 0,
    early: below(4) === 0,
    late: below(4) === 0 ? below(60) : 0,
    fault: below(30) === 0 ? "reset" : below(30) === 0 ? "break" : "none",
  };
  const headers: Record<string, string> = { authorization: token, "x-plan": JSON.stringify(plan), "x-bytes": String(upload?.length ?? 0) };
  if (upload !== undefined && below(2) === 0) headers["content-length"] = String(upload.length);
  if (below(3) === 0) headers["cookie"] = `berth-replica-${id.slice(0, 8)}=${below(4)}`;
  const path = `/api/docker/containers/proxy/${id}/x`;
  const cancelMs = below(10) === 0 ? below(60) : undefined;
  const isSlow = below(12) === 0;
  const pieces: Buffer[] = [];
  const got: { status: number; name?: string | undefined; owner?: string | undefined; complete: boolean } = { status: 0, complete: false };
  await new Promise<void>((resolve) => {
    const take = (stream: NodeJS.ReadableStream) =>
      stream.on("data", (piece: Buffer) => {
        pieces.push(piece);
        if (!isSlow) return;
        stream.pause();
        setTimeout(() => stream.resume(), below(20));
      });
    if (session !== undefined) {
      if (session.closed || session.destroyed) return resolve();
      const stream = session.request({ ":path": path, ":method": method, ...headers }, { endStream: upload === undefined });
      let ended = false;
      stream.on("error", () => undefined);
      stream.on("response", (head) => {
        got.status = Number(head[":status"]);
        got.name = head["x-name"] as string | undefined;
        got.owner = head["x-owner"] as string | undefined;
      });
      take(stream);
      stream.once("end", () => (ended = true));
      stream.once("close", () => {
        got.complete = ended && stream.rstCode === 0 && !stream.aborted;
        resolve();
      });
      if (upload !== undefined) stream.end(upload);
      if (cancelMs !== undefined) setTimeout(() => stream.close(8), cancelMs);
      return;
    }
    const sent = (secured ? requestSecurely : requestPlainly)(
      { host: "localhost", port, path, method, headers, agent, rejectUnauthorized: false } as never,
      (response: IncomingMessage) => {
        got.status = response.statusCode ?? 0;
        got.name = response.headers["x-name"] as string | undefined;
        got.owner = response.headers["x-owner"] as string | undefined;
        take(response);
        response.on("error", () => undefined);
        response.once("close", () => {
          got.complete = response.complete;
          resolve();
        });
      },
    );
    sent.on("error", () => resolve());
    sent.end(upload);
    if (cancelMs !== undefined) setTimeout(() => sent.destroy(), cancelMs);
  });
  const body = Buffer.concat(pieces);
  if (got.status !== 0 && got.name === undefined) {
    const code = /"datagrok-error":\s*"([^"]{0,60})/.exec(body.toString())?.[1] ?? body.toString().slice(0, 200);
    return {
      end: `${got.status} ${code}`,
      fault: [401, 502, 503, 504].includes(got.status) || !got.complete ? undefined : `answered ${got.status} ${body.toString().slice(0, 300)}`,
    };
  }
  const expected = bodyOf(name, plan.bytes);
  let fault: string | undefined;
  if (got.status !== 0 && (got.name !== name || got.owner !== id)) fault = `has the response to ${got.name} of ${got.owner}`;
  else if (!expected.subarray(0, body.length).equals(body)) fault = "has other bytes";
  else if (got.complete && body.length !== expected.length) fault = `is complete with ${body.length} of ${expected.length} bytes`;
  return { end: got.complete ? `${got.status}` : got.status === 0 ? `no answer${cancelMs === undefined ? "" : " (left)"}` : "broken off", fault };
}

async function playWebSocket({ port, secured }: Target, { id, name, token, below }: Played): Promise<Result> {
  const isHeld = below(2) === 0;
  const count = below(8);
  const path = `/api/docker/containers/${isHeld ? "proxy-ws" : "proxy"}/${id}/x`;
  const socket = new WebSocket(`${secured ? "wss" : "ws"}://127.0.0.1:${port}${path}`, {
    headers: { authorization: token, "x-want": id },
    rejectUnauthorized: false,
    perMessageDeflate: false,
  });
  const lasting = below(3) === 0 ? below(400) : 0;
  let next = isHeld ? -1 : 0;
  let fault: string | undefined;
  let opened = false;
  const leave = () => (below(2) === 0 ? socket.close(1_000) : socket.terminate());
  return new Promise((resolve) => {
    socket.on("error", () => undefined);
    socket.once("close", (code) => resolve({ end: `WebSocket ${opened ? code : "refused"}`, fault }));
    socket.once("open", () => {
      opened = true;
      for (let nth = 0; nth < count; nth++) socket.send(`${name} ${nth}`);
      if (count === 0) setTimeout(leave, below(30));
    });
    socket.on("message", (message: Buffer) => {
      const expected = next === -1 ? "CONNECTED" : `${id} ${name} ${next}`;
      if (String(message) !== expected) fault ??= `got ${String(message)} instead of ${expected}`;
      next++;
      if (next >= count) setTimeout(leave, lasting);
    });
  });
}

/** What the process has open, of all kinds. */
function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((file) => {
    try {
      const name = readlinkSync(`/proc/self/fd/${file}`);
      return /^(?:socket|pipe):/.test(name) ? [name] : [];
    } catch {
      return [];
    }
  });
}

function added(now: readonly string[], before: readonly string[]): string[] {
  return now.filter((name) => !before.includes(name));
}
