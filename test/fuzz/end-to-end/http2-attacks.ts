import type { Test } from "tap";
import { crc32 } from "node:zlib";
import { eventually } from "../../fixtures/eventually.ts";
import type { GatewayFixture } from "../../gateway/stand.ts";
import { field, FLAG, openRawClient, rawFrame, type ReceivedFrame, TYPE } from "../../gateway/http2/raw-client.ts";
import { describe, type AttackTally } from "./attack-requests.ts";
import { sendRaw } from "./raw-client.ts";
import type { RecordingServer } from "./recording-servers.ts";

/** Of a request of HTTP/2, as latin1: its fields, body and trailers. */
type Http2Request = {
  fields: readonly (readonly [name: string, value: string])[];
  body: string;
  trailers?: readonly (readonly [name: string, value: string])[];
};

const ID = "00000000-0000-4000-8000-000000000000";
const PREFIX = `/api/docker/containers/proxy/${ID}`;
const HIDDEN = `GET ${PREFIX}/hidden HTTP/1.1\r\nHost: localhost\r\nAuthorization: token\r\n\r\n`;

/** Where a byte stands that could end a line, a name or a body of HTTP/1.1; `text` has it within. */
const PLACES: Record<string, (name: string, text: string) => Http2Request> = {
  "in a value": (name, text) => request(name, { more: [["x-a", text]] }),
  "in a name": (name, text) => request(name, { more: [[`x-${text}`, "a"]] }),
  "before a name": (name, text) => request(name, { more: [[`${text}x-a`, "a"]] }),
  "in a cookie": (name, text) => request(name, { more: [["cookie", text]] }),
  "in the method": (name, text) => request(name, { method: `GET${text}` }),
  "in the path": (name, text) => request(name, { path: `${PREFIX}/${name}/${text}` }),
  "in the authority": (name, text) => request(name, { authority: `localhost${text}` }),
  "in the scheme": (name, text) => request(name, { scheme: `https${text}` }),
  "in a length": (name, text) => request(name, { method: "POST", more: [["content-length", `3${text}`]], body: "abc" }),
  "in a coding": (name, text) => request(name, { method: "POST", more: [["transfer-encoding", `chunked${text}`]], body: `0\r\n\r\n${HIDDEN}` }),
  "in te": (name, text) => request(name, { more: [["te", `trailers${text}`]] }),
  "in connection": (name, text) => request(name, { more: [["connection", `close${text}`]] }),
  "in a trailer": (name, text) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [["x-sum", text]] }),
  "in the name of a trailer": (name, text) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [[`x-sum${text}`, "a"]] }),
  "in a body that looks like chunks": (name, text) => request(name, { method: "POST", body: `0\r\n\r\n${text}${HIDDEN}` }),
};

/** What stands behind the byte. */
const BEHIND = ["a", `\n${HIDDEN}`, `\r\n${HIDDEN}`, "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"];

/** Requests that say two things about one. */
const CONTRADICTIONS: readonly ((name: string) => Http2Request)[] = [
  (name) => request(name, { method: "POST", more: [["content-length", "0"]], body: HIDDEN }),
  (name) => request(name, { method: "POST", more: [["content-length", "1"]], body: HIDDEN }),
  (name) => request(name, { method: "POST", more: [["content-length", "10000"]], body: HIDDEN }),
  (name) => request(name, { method: "POST", more: [["content-length", "3"], ["content-length", "3"]], body: "abc" }),
  (name) => request(name, { method: "POST", more: [["content-length", "3"], ["content-length", "1"]], body: "abc" }),
  (name) => request(name, { method: "POST", more: [["content_length", "3"]], body: HIDDEN }),
  (name) => request(name, { method: "POST", more: [["transfer_encoding", "chunked"]], body: `0\r\n\r\n${HIDDEN}` }),
  (name) => request(name, { more: [["host", "other"]] }),
  (name) => request(name, { more: [["host", "localhost"], ["host", "localhost"]] }),
  (name) => request(name, { more: [[":path", "/hidden"]] }),
  (name) => request(name, { more: [[":method", "POST"]] }),
  (name) => request(name, { path: `${PREFIX}/${name}/a HTTP/1.1` }),
  (name) => request(name, { path: `http://other${PREFIX}/${name}/a` }),
  (name) => request(name, { method: "CONNECT" }),
  (name) => request(name, { more: [["upgrade", "h2c"], ["connection", "upgrade"]] }),
  (name) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [["content-length", "3"]] }),
  (name) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [["transfer-encoding", "chunked"]] }),
  (name) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [[":path", "/hidden"]] }),
  (name) => ({ ...request(name, { method: "POST", body: "abc" }), trailers: [["authorization", "other"]] }),
]; // prettier-ignore

const BYTES = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));

const ATTACKS: readonly ((name: string) => Http2Request)[] = [
  ...CONTRADICTIONS,
  ...Object.values(PLACES).flatMap((place) => BEHIND.flatMap((behind) => BYTES.map((byte) => (name: string) => place(name, byte + behind)))),
];

export const HTTP2_ATTACKS = ATTACKS.length;

type RequestParts = { method?: string; path?: string; authority?: string; scheme?: string; more?: Http2Request["fields"]; body?: string };

function request(
  name: string,
  { method = "GET", path = `${PREFIX}/${name}/a`, authority = "localhost", scheme = "https", more = [], body = "" }: RequestParts,
): Http2Request {
  return {
    fields: [[":method", method], [":scheme", scheme], [":path", path], [":authority", authority], ["authorization", "token"], ...more],
    body,
  };
}

type AttackRun = { stand: Pick<GatewayFixture, "port" | "set" | "uses">; cert: string; server: RecordingServer; numbers: readonly number[] };

/**
 * Sends requests of HTTP/2 whose fields would be several lines or requests in HTTP/1.1. The server behind the gateway must have seen at most one request for
 * each, with its own target and body, and the next client must get its own response.
 */
export async function attackByHttp2(t: Pick<Test, "teardown">, { stand, cert, server, numbers }: AttackRun): Promise<AttackTally> {
  stand.set(ID, { kind: "awake", address: server.address });
  const sent = new Map<string, Http2Request>();
  const tally: AttackTally = { attacks: 0, messages: 0, refused: 0, failures: [] };
  // nghttp2 ends a connection after some refused requests.
  for (let at = 0; at < numbers.length; at += 16) {
    const group = numbers.slice(at, at + 16).map((nth) => [`attack-${nth}`, ATTACKS[nth]?.(`attack-${nth}`)] as const);
    const client = await openRawClient(t, { port: stand.port, cert });
    const { socket, frames } = client;
    const streams: number[] = [];
    for (const [index, [name, one]] of group.entries()) {
      if (one === undefined) continue;
      sent.set(name, one);
      streams.push(2 * index + 1);
      await client.send(framesOf(one, 2 * index + 1));
    }
    const open = () => (socket.destroyed || socket.readableEnded ? [] : streams.filter((stream) => !hasEnded(frames, stream)));
    await eventually(
      () => `each stream ends, not ${JSON.stringify(open().map((stream) => group[(stream - 1) / 2]))}`,
      () => open().length === 0,
    );
    socket.destroy();
    await eventually("the gateway has ended every exchange", () => (stand.uses.get(ID)?.open ?? 0) === 0);
    const victim = await sendRaw({ port: stand.port, secured: true }, [
      `GET ${PREFIX}/victim-${at}/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: token\r\nConnection: close\r\n\r\n`,
    ]);
    if (!victim.received.includes(`GET /victim-${at}/a 0 0`))
      tally.failures.push(describe(["the next client did not get its own response"], { group, victim }));
  }
  const byName = Map.groupBy(
    server.seen().filter((line) => !line.includes(" /victim-")),
    (line) => /^\S+ \/(attack-\d+)\//.exec(line)?.[1] ?? "",
  );
  for (const [name, one] of sent) {
    const lines = byName.get(name) ?? [];
    byName.delete(name);
    tally.attacks++;
    tally.messages += lines.length;
    if (lines.length === 0) tally.refused++;
    const [, , length, sum] = lines[0]?.split(" ") ?? [];
    const body = Buffer.from(one.body, "latin1");
    if (lines.length > 1 || (lines.length === 1 && (length !== String(body.length) || sum !== String(crc32(body)))))
      tally.failures.push(describe(["the server saw other requests than the one that was sent"], { sent: one, behind: lines }));
  }
  for (const [name, lines] of byName) tally.failures.push(describe([`the server saw requests of no attack (${name})`], { lines: lines.slice(0, 5) }));
  return tally;
}

function framesOf({ fields, body, trailers }: Http2Request, stream: number): Buffer {
  const block = (all: Http2Request["fields"]) => Buffer.concat(all.map(([name, value]) => field(name, value)));
  const ends = body === "" && trailers === undefined;
  const frames = [rawFrame(TYPE.headers, FLAG.endHeaders | (ends ? FLAG.endStream : 0), stream, block(fields))];
  if (!ends) frames.push(rawFrame(TYPE.data, trailers === undefined ? FLAG.endStream : 0, stream, Buffer.from(body, "latin1")));
  if (trailers !== undefined) frames.push(rawFrame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, stream, block(trailers)));
  return Buffer.concat(frames);
}

/** The stream has its whole response, or was reset. */
function hasEnded(frames: readonly ReceivedFrame[], stream: number): boolean {
  const ends = ({ type, flags }: ReceivedFrame) =>
    type === TYPE.reset || ((type === TYPE.data || type === TYPE.headers) && (flags & FLAG.endStream) !== 0);
  return frames.some((frame) => frame.stream === stream && ends(frame));
}
