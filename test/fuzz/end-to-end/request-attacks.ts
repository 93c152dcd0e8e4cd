import { numbers } from "../numbers.ts";
import { CHUNKED_BODIES, FRAMING_LINES, type FramingLines, OTHER_LINES } from "./framing-lines.ts";

/** What one client sends, as latin1, in these pieces. Each request in it, hidden ones too, has the attack's name in its target. */
export type RequestAttack = { name: string; pieces: readonly string[] };

const METHODS = ["POST", "POST", "POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"];
const VERSIONS = ["1.1", "1.1", "1.1", "1.1", "1.1", "1.0"];
const BESIDE = [
  "", "", "", "Connection: keep-alive\r\n", "Connection: close\r\n", "Connection: transfer-encoding\r\n", "Connection: close, content-length\r\n",
  "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n", "Expect: 100-continue\r\n", "TE: trailers\r\nTrailer: X-Sum\r\n",
]; // prettier-ignore

const PLAIN_CHUNKED: FramingLines = { name: "plain chunks", lines: () => "Transfer-Encoding: chunked\r\n" };

/** Each chunked body behind a plain `Transfer-Encoding`, then each framing line. The other properties follow from the seed. */
export const REQUEST_ATTACKS = CHUNKED_BODIES.length + FRAMING_LINES.length;

/**
 * The attack number `nth`: after none or one ordinary request, one whose framing is odd, with bytes behind it that a server may take for a request, and an
 * ordinary last one. `prefix` begins each target; `lines` are those that every request has, Host among them.
 */
export function requestAttack(nth: number, { seed, prefix, lines }: { seed: number; prefix: string; lines: string }): RequestAttack {
  const next = numbers(seed * 1_000_003 + nth);
  const pick = <Value>(values: readonly Value[]): Value => values[next(values.length)] as Value;
  const name = `attack-${nth}`;
  const head = (method: string, what: string, version = "1.1") => `${method} ${prefix}/${name}/${what} HTTP/${version}\r\n${lines}`;
  const hidden = pick([
    `${head("GET", "hidden")}\r\n`,
    `${head("GET", "hidden")}\r\n`,
    `${head("GET", "hidden")}Content-Length: 10\r\n\r\nx=`,
    `${head("POST", "hidden")}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${head("GET", "hidden")}X: `,
  ]);
  const ownBody = CHUNKED_BODIES[nth];
  const body = (ownBody ?? pick(CHUNKED_BODIES))(hidden);
  const framing = FRAMING_LINES[nth - CHUNKED_BODIES.length] ?? PLAIN_CHUNKED;
  const claimed = pick([body.length, body.length, body.length, 4, 0, body.length - hidden.length, body.length + 20]);
  const tried = framing.lines(claimed);
  const other = ownBody === undefined ? pick(OTHER_LINES)(pick([body.length, claimed])) : "";
  const framed = next(2) === 0 ? tried + other : other + tried;
  const before = pick(["", "", `${head("GET", "before")}\r\n`, `${head("PUT", "before")}Content-Length: 3\r\n\r\nabc`]);
  const odd = `${head(pick(METHODS), "odd", pick(VERSIONS))}${pick(BESIDE)}${framed}\r\n${body}`;
  const stream = `${before}${odd}${head("GET", "last")}Connection: close\r\n\r\n`;
  const cuts = pick([0, 0, 1, 3]);
  const at = Array.from({ length: cuts }, () => next(stream.length)).toSorted((a, b) => a - b);
  return { name, pieces: [0, ...at].map((from, index) => stream.slice(from, at[index])) };
}
