import { pageOf, permissionLines, preflightLines } from "../../../lib/browser-requests.ts";
import { systemClock } from "../../../lib/clock.ts";
import { headerOf } from "../../../control/api/authorization.ts";
import { FrameError, FrameBoundary } from "../../../gateway/websockets/frames.ts";
import { createDecide } from "../../../gateway/containers/decide.ts";
import { createProbeMatcher, parseRoute } from "../../../gateway/containers/route.ts";
import { createHold } from "../../../gateway/containers/hold.ts";
import { createLeases } from "../../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../../gateway/containers/open-exchanges.ts";
import { QueuedFrames } from "../../../gateway/websockets/queued-frames.ts";
import { originForm } from "../../../gateway/http1/message-heads.ts";
import { MessageRefused, createHttp1 } from "../../../gateway/http1/message-reader.ts";
import { DEFAULT_LIMITS } from "../../fixtures/gateway-limits.ts";
import { createReadiness } from "../../../gateway/readiness.ts";
import { requestIdOf } from "../../../gateway/forwarded-headers.ts";
import { isTraceparent } from "../../../gateway/trace-context.ts";
import { createTrustedProxies } from "../../../gateway/trusted-proxies.ts";
import { Fault } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { openTestDirectory } from "../../fixtures/directory.ts";
import { frame } from "../../fixtures/frame.ts";
import { type InputCase, pumped } from "./input-case.ts";

const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
const PATH = `/api/docker/containers/proxy/${ID}`;
/** The limit of a head, less its first lines; and what one read of a socket brings. */
const HEAD = 64_000;
const READ = 65_536;

const http1 = createHttp1({ underscoreHeaders: "drop" });
const clock = systemClock();
const log = openLog({ level: "silent", name: "bench" });
const { directory, identity, set } = openTestDirectory();
set(ID, { kind: "awake", address: { host: "127.0.0.1", port: 1 } });
const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
const decide = createDecide({
  sendsAgain: true,
  directory,
  identity,
  leases: createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 0, holdMs: 0 }),
  api: { target: { socketPath: "/nowhere" } },
  readiness: createReadiness("ready"),
  trusted: createTrustedProxies(["private"]),
  origins: ["https://good.example"],
  limits: DEFAULT_LIMITS,
  clock,
  log,
});

/** A refusal is a result. */
const refusable = (read: () => unknown): void => {
  try {
    read();
  } catch (error) {
    if (!(error instanceof Fault || error instanceof MessageRefused || error instanceof FrameError)) throw error;
  }
};

const headOf = (lines: readonly string[]) => Buffer.from(`GET ${PATH} HTTP/1.1\r\nHost: x\r\n${lines.join("\r\n")}\r\n\r\n`, "latin1");

/** All that a gateway does with a head: reads it, decides on it, and writes what goes on. */
async function passHead(lines: readonly string[]): Promise<void> {
  const reader = http1.requests();
  const { signal } = new AbortController();
  try {
    const bytes = headOf(lines);
    if (reader.readHead(bytes, 0, bytes.length) === -1) throw new Error("the head is not complete");
    const decision = await decide({ head: reader.head, peer: { address: "10.0.0.1" }, tls: false, signal });
    if (decision.kind !== "forward") return;
    reader.head.write(decision.forward.target, decision.forward.request, "");
    decision.lease.release();
  } catch (error) {
    if (!(error instanceof MessageRefused)) throw error;
  } finally {
    reader.close();
  }
}

const filled = (text: string, bytes = HEAD) => text.repeat(Math.floor(bytes / text.length));
const SIGNED_IN = "Authorization: token";

const heads: Readonly<Record<string, readonly string[]>> = {
  "different cookies auth": [`Cookie: ${Array.from({ length: 5_900 }, (_, at) => `auth=${at}`).join(";")}`],
  "the same cookie auth": [`Cookie: ${filled("auth=a;")}`],
  "cookies of percent signs": [`Cookie: ${filled("auth=%;")}`],
  "a cookie header of semicolons": [`Cookie: ${filled(";")}`],
  "200 lines with the longest names": [SIGNED_IN, ...Array.from({ length: 190 }, (_, at) => `${filled("x-a", 320)}${at}: 1`)],
  "200 lines of one name": [SIGNED_IN, ...Array.from({ length: 190 }, () => `x-forwarded-for: ${filled("1,", 300)}1`)],
  "Connection that names thousands": [SIGNED_IN, `Connection: ${Array.from({ length: 9_000 }, (_, at) => `h${at}`).join(",")}`],
  "X-Forwarded-For of trusted addresses": [`X-Forwarded-For: ${filled("10.0.0.1,", 63_000)}10.0.0.2`, "Cookie: auth=a"],
  "X-Forwarded-For of commas": [`X-Forwarded-For: ${filled(",", 63_000)}`, "Cookie: auth=a"],
  "a long traceparent": [SIGNED_IN, `traceparent: cc-${"a".repeat(32)}-${"b".repeat(16)}-01-${filled("-", 63_000)}`],
};

const texts: Readonly<Record<string, { pieces: readonly string[]; worst: string; read(text: string): unknown }>> = {
  "Origin and Referer": {
    pieces: ["http://", "a", ".", ":", "@", "/", "%", "[", "]", "xn--", "é", "null"],
    worst: `http://${filled("a.")}`,
    read: (text) => [{ origin: text }, { referer: text, host: text }].map((headers) => pageOf(headerOf(headers), ["https://good.example"])),
  },
  "names that a permitted page may read": {
    pieces: ["a", ",", "access-control-", "content-", "length"],
    worst: filled("access-control-a,"),
    read: (text) => permissionLines("https://good.example", text.split(",").slice(0, 2_000)),
  },
  preflights: {
    pieces: ["a", ",", " ", "-"],
    worst: filled("a,"),
    read: (text) =>
      preflightLines(
        "OPTIONS",
        headerOf({ origin: "https://good.example", "access-control-request-method": text, "access-control-request-headers": text }),
        ["https://good.example"],
      ),
  },
  "forwarded addresses": {
    pieces: ["10.0.0.1", ",", " ", "[", "]", ":", "1", "fc00::1", "::", ":80"],
    worst: filled("10.0.0.1,"),
    read: (text) => createTrustedProxies(["private"]).clientOf(text, "10.0.0.1"),
  },
  "request targets": {
    pieces: ["/", "a", "http://", "@", "%", "?", "#", PATH, "."],
    worst: `http://${filled("@")}${PATH}`,
    read: (text) => parseRoute("proxy", originForm(text)),
  },
  "trace and request ids": {
    pieces: ["00-", "a", "0", "-", "ff", "01"],
    worst: `cc-${"a".repeat(32)}-${"b".repeat(16)}-01-${filled("-")}`,
    read: (text) => [isTraceparent(text), requestIdOf({ header: headerOf({ "x-request-id": text }) })],
  },
  "no-wake rules": {
    pieces: ["prefetch", "a", ";", "p"],
    worst: filled("prefetc"),
    read: (text) =>
      createProbeMatcher(["sec-purpose:prefetch", "user-agent:probe"])({ header: headerOf({ "sec-purpose": text, "user-agent": text }) }),
  },
};

const chunked = (body: string) => (): void => {
  const reader = http1.requests();
  const head = Buffer.from(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`, "latin1");
  refusable(() => {
    reader.readHead(head, 0, head.length);
    const bytes = Buffer.from(body, "latin1");
    reader.readChunked(bytes, 0, bytes.length);
  });
  reader.close();
};

const bodies: Readonly<Record<string, string>> = {
  "chunks of one byte": `${filled("1\r\nx\r\n", READ)}0\r\n\r\n`,
  "a chunk extension": `1;${filled("a", READ)}`,
  "chunk extensions": `${filled("1;a=b;c\r\nx\r\n", READ)}0\r\n\r\n`,
  trailers: `0\r\n${filled("x-a: 1\r\n", READ)}\r\n`,
};

const frames = (one: Buffer, cut = READ) => {
  const flood = Buffer.concat(Array.from({ length: Math.floor(READ / one.length) }, () => one));
  return (): void => {
    const queued = new QueuedFrames();
    refusable(() => {
      for (let at = 0; at < flood.length; at += cut) queued.push(flood, at, Math.min(at + cut, flood.length));
    });
    queued.take();
  };
};

const EMPTY = Buffer.alloc(0);
const floods: Readonly<Record<string, () => void>> = {
  "empty pings": frames(frame(9, EMPTY)),
  "empty pongs": frames(frame(10, EMPTY)),
  "pings and pongs in turn": frames(Buffer.concat([frame(9, EMPTY), frame(10, EMPTY)])),
  "frames of one byte, byte for byte": frames(frame(1, Buffer.alloc(1)), 1),
  "a container's empty frames": () => new FrameBoundary().pass(Buffer.alloc(READ, Buffer.from([0x81, 0x00])), 0, READ),
  "a container's frames with long lengths": () => new FrameBoundary().pass(Buffer.alloc(READ, Buffer.from([0x81, 0x7e, 0x00, 0x00])), 0, READ),
};

export const cases: InputCase[] = [
  ...Object.entries(heads).map(([name, lines]) => ({ name: `gateway, head: ${name}`, run: () => passHead(lines) })),
  ...Object.entries(bodies).map(([name, body]) => ({ name: `gateway, body: ${name}`, run: chunked(body) })),
  ...Object.entries(floods).map(([name, run]) => ({ name: `gateway, WebSocket: ${name}`, run })),
  ...Object.entries(texts).map(([name, { read, ...options }]) =>
    pumped(`gateway: ${name}`, { limit: HEAD, ...options, read: (text) => refusable(() => read(text)) }),
  ),
];
