import type { Clock } from "../lib/clock.ts";
import { maskedPath } from "../lib/masked-path.ts";
import type { AccessRecord, ExchangeLabels } from "./access-record.ts";
import { requestIdOf } from "./forwarded-headers.ts";
import { putBytes } from "./http1/write-lines.ts";

const MAX_PATH_LENGTH = 1_024;
const MAX_NAME_LENGTH = 200;

/** Bytes of a line beside its texts. */
const MAX_OTHER_BYTES = 1_024;
/** Of one character: `\u0000`. */
const MAX_CHARACTER_BYTES = 6;

/** With what precedes the value. The first field distinguishes these lines from others that go to the same output. */
const BEGIN = Buffer.from('{"log":"access","time":"');
const TIME_LENGTH = "2026-01-01T00:00:00.000Z".length;
const REQUEST_ID = Buffer.from(',"requestId":"');
const TRACE_ID = Buffer.from(',"traceId":"');
const PEER = Buffer.from(',"peer":"');
const WHO = Buffer.from(',"who":"');
const PROTOCOL = Buffer.from(',"protocol":"');
const METHOD = Buffer.from(',"method":"');
const ROUTE = Buffer.from(',"route":"');
const CONTAINER = Buffer.from(',"container":"');
const PATH = Buffer.from(',"path":"');
const STATUS = Buffer.from(',"status":');
const FAULT = Buffer.from(',"fault":"');
const ENDING = Buffer.from(',"ending":"');
const BYTES_IN = Buffer.from(',"bytesIn":');
const BYTES_OUT = Buffer.from(',"bytesOut":');
const IDENTITY_MS = Buffer.from(',"identityMs":');
const HOLD_MS = Buffer.from(',"holdMs":');
const CONNECT_MS = Buffer.from(',"connectMs":');
const FIRST_BYTE_MS = Buffer.from(',"firstByteMs":');
const TOTAL_MS = Buffer.from(',"totalMs":');

const QUOTE = 34;
const BACKSLASH = 92;
const ZERO = 48;
const POINT = 46;
const BRACE = 125;
const NEW_LINE = 10;

/**
 * Writes the line of an exchange as bytes of JSON: with an object, its text and the bytes of that, a line costs as much as a fourth of its request. Never a
 * token or key; a query only with `query`.
 */
export class AccessLineWriter {
  readonly #query: boolean;
  readonly #clock: Clock;
  #bytes = Buffer.allocUnsafeSlow(16_384);
  #timeMs = Number.NaN;
  readonly #time = Buffer.alloc(TIME_LENGTH);

  constructor({ query, clock }: { query: boolean; clock: Clock }) {
    this.#query = query;
    this.#clock = clock;
  }

  /** Where `write` writes. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Returns the length of the line in `bytes`, which the next call writes again. */
  write(exchange: AccessRecord): number {
    const { labels, head, startedAt, firstByteAt, overAt, peer, protocol, status, ending } = exchange;
    const { ids, route } = labels;
    const requestId = ids === undefined ? head && requestIdOf(head) : ids.theirRequestId;
    const who = shortName(labels.login);
    const container = shortName(labels.container);
    const path = pathOf(exchange, this.#query);
    const method = head?.method;
    const characters = lengthOf(requestId) + lengthOf(peer) + lengthOf(who) + lengthOf(method) + lengthOf(container) + lengthOf(path);
    const out = this.#reserve(MAX_OTHER_BYTES + characters * MAX_CHARACTER_BYTES);

    let at = putBytes(out, 0, BEGIN);
    at = putBytes(out, at, this.#now());
    out[at++] = QUOTE;
    if (requestId !== undefined) at = putText(out, at, REQUEST_ID, requestId);
    else if (ids !== undefined) at = putTraceId(out, at, REQUEST_ID, ids);
    if (ids !== undefined) at = putTraceId(out, at, TRACE_ID, ids);
    at = putText(out, at, PEER, peer);
    at = putText(out, at, WHO, who);
    at = putText(out, at, PROTOCOL, protocol);
    at = putText(out, at, METHOD, method);
    at = putText(out, at, ROUTE, route);
    at = putText(out, at, CONTAINER, container);
    at = putText(out, at, PATH, path);
    at = putWhole(out, putBytes(out, at, STATUS), status);
    at = putText(out, at, FAULT, exchange.fault ?? labels.fault);
    at = putText(out, at, ENDING, ending);
    at = putWhole(out, putBytes(out, at, BYTES_IN), exchange.bytesIn);
    at = putWhole(out, putBytes(out, at, BYTES_OUT), exchange.bytesOut);
    at = putTenths(out, putBytes(out, at, IDENTITY_MS), exchange.identityMs);
    at = putTenths(out, putBytes(out, at, HOLD_MS), exchange.holdMs);
    at = putTenths(out, putBytes(out, at, CONNECT_MS), exchange.connectMs);
    if (firstByteAt !== 0) at = putTenths(out, putBytes(out, at, FIRST_BYTE_MS), firstByteAt - startedAt);
    at = putTenths(out, putBytes(out, at, TOTAL_MS), overAt - startedAt);
    out[at++] = BRACE;
    out[at++] = NEW_LINE;
    return at;
  }

  #reserve(bytes: number): Buffer {
    if (bytes > this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(bytes);
    return this.#bytes;
  }

  /** Made once for all lines of a millisecond. */
  #now(): Buffer {
    const now = this.#clock.now();
    if (now !== this.#timeMs) {
      this.#timeMs = now;
      this.#time.write(new Date(now).toISOString(), "latin1");
    }
    return this.#time;
  }
}

function lengthOf(text: string | undefined): number {
  return text === undefined ? 0 : text.length;
}

function shortName(name: string | undefined): string | undefined {
  return name !== undefined && name.length > MAX_NAME_LENGTH ? name.slice(0, MAX_NAME_LENGTH) : name;
}

/** If the end of the path is masked, so is the query: a key may contain a `?`. */
function pathOf({ labels, head, status }: AccessRecord, query: boolean): string | undefined {
  if (head === undefined) return undefined;
  const { target } = head;
  const mark = target.indexOf("?");
  const path = mark === -1 ? target : target.slice(0, mark);
  const published = head.method === "POST" && status >= 200 && status < 300;
  let text = maskedPath(path, { container: labels.container !== undefined || isRegistryPath(labels, path), published });
  if (query && mark !== -1) text += text.endsWith("***") ? "?***" : target.slice(mark);
  return text.length > MAX_PATH_LENGTH ? `${text.slice(0, MAX_PATH_LENGTH)}…` : text;
}

/** Such a path contains no key, and the names of repositories may look like one. */
function isRegistryPath({ route }: ExchangeLabels, path: string): boolean {
  return route !== "none" && route !== "api" && path.startsWith("/v2/");
}

function putText(out: Buffer, at: number, field: Buffer, text: string | undefined): number {
  if (text === undefined) return at;
  const begin = putBytes(out, at, field);
  const { length } = text;
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126 || code === QUOTE || code === BACKSLASH) return putEscaped(out, begin - 1, text);
    out[begin + index] = code;
  }
  out[begin + length] = QUOTE;
  return begin + length + 1;
}

/** With its quotes. */
function putEscaped(out: Buffer, at: number, text: string): number {
  return at + out.write(JSON.stringify(text), at, "utf8");
}

function putTraceId(out: Buffer, at: number, field: Buffer, ids: NonNullable<ExchangeLabels["ids"]>): number {
  const end = ids.putTraceId(out, putBytes(out, at, field));
  out[end] = QUOTE;
  return end + 1;
}

function putWhole(out: Buffer, at: number, value: number): number {
  if (value >= 0 && value < 1_000_000_000 && Number.isInteger(value)) return putDigits(out, at, value);
  return at + out.write(JSON.stringify(value), at, "latin1");
}

function putDigits(out: Buffer, at: number, whole: number): number {
  let end = at + 1;
  for (let rest = whole; rest >= 10; rest = Math.trunc(rest / 10)) end++;
  let rest = whole;
  for (let index = end - 1; index >= at; index--) {
    const tens = Math.trunc(rest / 10);
    out[index] = ZERO + rest - tens * 10;
    rest = tens;
  }
  return end;
}

/** Milliseconds, with one digit behind the point where it is not 0. */
function putTenths(out: Buffer, at: number, ms: number): number {
  const tenths = Math.round(ms * 10);
  if (!(tenths >= 0 && tenths < 1_000_000_000)) return at + out.write(JSON.stringify(tenths / 10), at, "latin1");
  const whole = Math.trunc(tenths / 10);
  const end = putDigits(out, at, whole);
  const digit = tenths - whole * 10;
  if (digit === 0) return end;
  out[end] = POINT;
  out[end + 1] = ZERO + digit;
  return end + 2;
}
