import { numbers } from "../numbers.ts";
import { CHUNKED_BODIES, FRAMING_LINES, OTHER_LINES } from "./framing-lines.ts";

/** What a container answers to a request with this method, as latin1, and what it does then. */
export type ResponseAttack = { name: string; method: string; answer: string; afterwards: "waits" | "ends" | "resets" };

const STATUS_LINES = [
  "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 404 Not Found",
  "HTTP/1.1 206 Partial", "HTTP/1.1 103 Early Hints", "HTTP/1.1 100 Continue", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 205 Reset", "HTTP/1.1 200",
  "HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "HTTP/1.1 200\tOK", "HTTP/1.1 2000 OK", "ICY 200 OK", "http/1.1 200 OK", "\r\nHTTP/1.1 200 OK",
]; // prettier-ignore
const BEFORE = [
  "",
  "",
  "",
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
  "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n",
];
const BESIDE = [
  "",
  "",
  "Connection: keep-alive\r\n",
  "Connection: close\r\n",
  "Connection: transfer-encoding\r\n",
  "Trailer: X-Sum\r\n",
  "Upgrade: h2c\r\n",
];

/** Bytes that must never pass as a response. */
export const HIDDEN_RESPONSE = "HTTP/1.1 200 OK\r\nX-Own: hidden\r\nContent-Length: 6\r\n\r\nhidden";

export const RESPONSE_ATTACKS = FRAMING_LINES.length;

/** The attack number `nth`: a response whose framing is odd, with bytes behind it that a proxy may take for the next response. */
export function responseAttack(nth: number, seed: number): ResponseAttack {
  const next = numbers(seed * 1_000_003 + nth);
  const pick = <Value>(values: readonly Value[]): Value => values[next(values.length)] as Value;
  const body = pick(CHUNKED_BODIES)(HIDDEN_RESPONSE);
  const framing = FRAMING_LINES[nth % FRAMING_LINES.length] as (typeof FRAMING_LINES)[number];
  const claimed = pick([body.length, body.length, 4, 0, body.length + 20]);
  const tried = framing.lines(claimed);
  const other = pick(OTHER_LINES)(pick([body.length, claimed]));
  return {
    name: `answer-${nth}`,
    method: pick(["GET", "GET", "GET", "HEAD", "POST"]),
    answer: `${pick(BEFORE)}${pick(STATUS_LINES)}\r\n${pick(BESIDE)}${next(2) === 0 ? tried + other : other + tried}\r\n${body}`,
    afterwards: pick(["waits", "ends", "ends", "resets"]),
  };
}
