import { once } from "node:events";
import { type ClientHttp2Session, createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { Agent, request } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { openHttp2Stand } from "../gateway/http2/fixture.ts";
import { ID, PATH } from "../gateway/stand.ts";
import { eventually } from "../fixtures/eventually.ts";
import { numbers } from "./numbers.ts";

// `npm run fuzz -- exchanges` goes on for minutes, from another seed.
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 3);
const CLIENTS = 24;
const HANGS_MS = 30_000;

/** What a container does with one request; the client sends it along. */
type Plan = {
  id: string;
  /** Of the response's body. */
  bytes: number;
  hasLength: boolean;
  hasTrailers: boolean;
  /** It responds after the end of the request. */
  isLate: boolean;
  fault: "none" | "reset first" | "break in the body" | "reset quietly in the body" | "go away" | "cut a connection";
  code: number;
};

/** What one side has received of the other's message. */
type Received = { bytes: number; foreign: boolean; id?: string | undefined; trailer?: string | undefined; complete: boolean; status: number };

t.test(`random exchanges of HTTP/1.1 and HTTP/2 with a container of h2c, seed ${SEED}`, { timeout: (SECONDS + 120) * 1_000 }, async (t) => {
  const below = numbers(SEED);
  const failures = new Set<string>();
  const stand = await openHttp2Stand(t, { limits: { connectionsPerAddress: 5_000 } });
  const container = await openFaultyContainer(t, below, failures);
  stand.set(ID, { kind: "awake", address: container.address });
  const agent = new Agent({ keepAlive: true, ca: stand.cert, maxSockets: CLIENTS });
  t.teardown(() => agent.destroy());

  let exchanges = 0;
  const ends = new Map<string, number>();
  const play = async (session: ClientHttp2Session | undefined): Promise<void> => {
    const id = `${String.fromCharCode(97 + below(26))}${exchanges++}`;
    const plan = planOf(id, below);
    const upload = below(3) === 0 ? Buffer.alloc(below(3) === 0 ? below(300_000) : below(500), id) : undefined;
    const method = upload !== undefined ? "POST" : below(8) === 0 ? "HEAD" : "GET";
    const cancelMs = below(12) === 0 ? below(30) : undefined;
    const headers: Record<string, string> = { authorization: "token", "x-plan": JSON.stringify(plan) };
    if (upload !== undefined && below(2) === 0) headers["content-length"] = String(upload.length);
    const sent: Sent = { plan, method, headers, upload, cancelMs };
    const over = session === undefined ? overHttp1(sent, { port: stand.port, agent }) : overHttp2(sent, session);
    const received = await Promise.race([over, sleep(HANGS_MS, undefined, { ref: false })]);
    const what = `${session === undefined ? "HTTP/1.1" : "HTTP/2"} ${method} ${JSON.stringify(plan)} upload ${upload?.length} cancelled after ${cancelMs}`;
    for (const fault of received === undefined ? ["hangs"] : faultsOf(received, plan, method)) failures.add(`${fault}: ${what}`);
    const end = received?.complete === true ? String(received.status) : "broken off";
    ends.set(end, (ends.get(end) ?? 0) + 1);
  };
  const until = performance.now() + SECONDS * 1_000;
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, nth) => {
      let session: ClientHttp2Session | undefined;
      while (performance.now() < until && failures.size < 10) {
        if (nth % 3 !== 0 && (session === undefined || session.closed || session.destroyed)) session = stand.session();
        await play(session);
      }
    }),
  );

  t.same([...failures], []);
  t.ok((ends.get("200") ?? 0) > exchanges / 8, `${exchanges} exchanges: ${JSON.stringify([...ends])}`);
  t.ok((ends.get("broken off") ?? 0) > 0, "and some were broken off");
  const left = () => [
    `leases: ${JSON.stringify(stand.openAt(ID))}`,
    `use: ${JSON.stringify(stand.uses.get(ID))}`,
    `connections of clients: ${stand.clients.filter(({ closed }) => !closed).length}, to containers: ${stand.containers.filter(({ closed }) => !closed).length}`,
    `streams of the container: ${[...container.streams].map(describeStream).join(", ")}`,
    `sessions of the container: ${[...container.sessions].map(({ closed, destroyed, state }) => JSON.stringify({ closed, destroyed, ...state })).join(", ")}`,
  ];
  const eventuallyOver = (what: string, isOver: () => boolean) => eventually(() => [what, ...left()].join("\n"), isOver);
  await eventuallyOver("all leases to be released", () => stand.openAt(ID).count === 0);
  await eventuallyOver("all streams to end", () => container.streams.size === 0);
  await eventuallyOver("connections without streams to close", () => container.sessions.size === 0);
});

function describeStream({
  id,
  closed,
  destroyed,
  aborted,
  rstCode,
  readableEnded,
  writableEnded,
  writableFinished,
  state,
}: ServerHttp2Stream): string {
  return JSON.stringify({ id, closed, destroyed, aborted, rstCode, readableEnded, writableEnded, writableFinished, ...state });
}

function planOf(id: string, below: (n: number) => number): Plan {
  const faults = ["reset first", "break in the body", "reset quietly in the body", "go away", "cut a connection"] as const;
  return {
    id,
    bytes: below(4) === 0 ? below(400_000) : below(500),
    hasLength: below(2) === 0,
    hasTrailers: below(2) === 0,
    isLate: below(2) === 0,
    fault: below(8) === 0 ? (faults[below(faults.length)] ?? "none") : "none",
    code: below(9),
  };
}

function faultsOf({ bytes, foreign, id, trailer, complete, status }: Received, plan: Plan, method: string): string[] {
  const faults: string[] = [];
  if (id !== undefined && id !== plan.id) faults.push(`has the head of ${id}`);
  if (foreign) faults.push("has bytes of another");
  if (trailer !== undefined && trailer !== plan.id) faults.push(`has the trailers of ${trailer}`);
  if (!complete || status !== 200 || method === "HEAD") return faults;
  if (bytes !== plan.bytes) faults.push(`is complete with ${bytes} bytes`);
  // Behind a body with a length, the response is over before them.
  if (plan.hasTrailers && !plan.hasLength && trailer === undefined) faults.push("is complete without its trailers");
  return faults;
}

type Sent = { plan: Plan; method: string; headers: Record<string, string>; upload: Buffer | undefined; cancelMs: number | undefined };

function overHttp1({ plan, method, headers, upload, cancelMs }: Sent, { port, agent }: { port: number; agent: Agent }): Promise<Received> {
  const received: Received = { bytes: 0, foreign: false, complete: false, status: 0 };
  return new Promise((resolve) => {
    const sent = request({ host: "localhost", port, path: PATH, method, headers, agent }, (response) => {
      received.status = response.statusCode ?? 0;
      received.id = idIn(response.headers);
      response.on("data", (piece: Buffer) => note(received, plan, piece));
      response.on("error", () => undefined);
      response.once("close", () => resolve({ ...received, trailer: idIn(response.trailers), complete: response.complete }));
    });
    sent.once("error", () => resolve(received));
    sent.end(upload);
    if (cancelMs !== undefined) setTimeout(() => sent.destroy(), cancelMs);
  });
}

function overHttp2({ plan, method, headers, upload, cancelMs }: Sent, session: ClientHttp2Session): Promise<Received> {
  const received: Received = { bytes: 0, foreign: false, complete: false, status: 0 };
  if (session.closed || session.destroyed) return Promise.resolve(received);
  return new Promise((resolve) => {
    const stream = session.request({ ":path": PATH, ":method": method, ...headers }, { endStream: upload === undefined });
    let ended = false;
    stream.on("error", () => undefined);
    stream.on("response", (head) => {
      received.status = Number(head[":status"]);
      received.id = idIn(head);
    });
    stream.on("trailers", (trailers) => (received.trailer = idIn(trailers)));
    stream.on("data", (piece: Buffer) => note(received, plan, piece));
    stream.once("end", () => (ended = true));
    stream.once("close", () => resolve({ ...received, complete: ended && stream.rstCode === 0 && !stream.aborted }));
    if (upload !== undefined) stream.end(upload);
    if (cancelMs !== undefined) setTimeout(() => stream.close(8), cancelMs);
  });
}

function idIn(fields: IncomingHttpHeaders | NodeJS.Dict<string>): string | undefined {
  const id = fields["x-id"];
  return typeof id === "string" ? id : undefined;
}

/** Answers of berth's own have no id, and other bytes. */
function note(received: Received, { id }: Plan, piece: Buffer): void {
  received.bytes += piece.length;
  if (received.id !== undefined && isForeign(piece, id)) received.foreign = true;
}

/** All bytes of a message are the letter with which its id begins, or a digit of it. */
function isForeign(piece: Buffer, id: string): boolean {
  const own = Buffer.from(id, "latin1");
  return piece.some((byte) => !own.includes(byte));
}

/** A container of h2c that does what each request's plan says. Uploads that it takes for complete are so. */
async function openFaultyContainer(t: Test, below: (n: number) => number, failures: Set<string>) {
  const server = createServer({ settings: { maxConcurrentStreams: 20 } });
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const streams = new Set<ServerHttp2Stream>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined);
    session.once("close", () => sessions.delete(session));
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    streams.add(stream);
    stream.on("error", () => undefined);
    stream.once("close", () => streams.delete(stream));
    const plan = JSON.parse(String(headers["x-plan"])) as Plan;
    let bytes = 0;
    stream.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (isForeign(piece, plan.id)) failures.add(`the container of ${plan.id} has bytes of another`);
    });
    const length = headers["content-length"];
    stream.once("end", () => {
      if (length !== undefined && Number(length) !== bytes && stream.rstCode === 0 && !stream.aborted)
        failures.add(`the container of ${plan.id} has ${bytes} of ${length} bytes, and the end`);
    });
    const begun = plan.isLate ? Promise.race([once(stream, "end"), once(stream, "close")]) : Promise.resolve();
    void begun.then(() => respond(stream, headers[":method"] === "HEAD", plan)).catch(() => undefined);
  });

  async function respond(stream: ServerHttp2Stream, isHead: boolean, { id, bytes, hasLength, hasTrailers, fault, code }: Plan): Promise<void> {
    if (stream.destroyed) return;
    if (fault === "reset first") return stream.close(code);
    if (fault === "go away") stream.session?.goaway(0);
    if (fault === "cut a connection") [...sockets][below(sockets.size)]?.destroy();
    const fields = { ":status": 200, "x-id": id, ...(hasLength ? { "content-length": String(bytes) } : {}) };
    stream.respond(fields, { waitForTrailers: hasTrailers && !isHead, endStream: isHead });
    if (isHead) return;
    stream.once("wantTrailers", () => {
      setTimeout(() => {
        if (!stream.destroyed && !stream.closed) stream.sendTrailers({ "x-id": id });
      }, below(20));
    });
    for (let left = bytes; left > 0 && !stream.destroyed;) {
      const piece = Math.min(left, 1 + below(60_000));
      left -= piece;
      if (left > 0 && fault === "break in the body") return void stream.destroy(new Error("as planned"));
      if (left > 0 && fault === "reset quietly in the body") return void stream.destroy();
      if (!stream.write(Buffer.alloc(piece, id))) await Promise.race([once(stream, "drain"), once(stream, "close")]);
      if (below(8) === 0) await sleep(below(5));
    }
    if (!stream.destroyed) stream.end();
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { address: { host: "127.0.0.1", port: (server.address() as AddressInfo).port, h2c: true } as const, streams, sessions };
}
