import { numbers } from "../numbers.ts";
import { CHUNKED_BODIES, FRAMING_LINES, type FramingLines, OTHER_LINES } from "./framing-lines.ts";

/** What one client sends, as latin1, in these pieces. Each request in it, hidden ones too, has the attack's name in its target. */
export type RequestAttack = {
  name: string;
  pieces: readonly string[];
  /** The request `odd` has a length and chunks, both as plain lines. h11 reads the chunks, as most servers do; another may not. */
  isAmbiguous: boolean;
};

const METHODS = ["POST", "POST", "POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"];
const VERSIONS = ["1.1", "1.1", "1.1", "1.1", "1.1", "1.0"];
const BESIDE = [
  "", "", "", "Connection: keep-alive\r\n", "Connection: close\r\n", "Connection: transfer-encoding\r\n", "Connection: close, content-length\r\n",
  "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n", "Expect: 100-continue\r\n", "TE: trailers\r\nTrailer: X-Sum\r\n",
]; // prettier-ignore

const PLAIN_CHUNKED: FramingLines = { name: "plain chunks", lines: () => "Transfer-Encoding: chunked\r\n" };

/** Plain lines that contradict each other: only a rule refuses them, not an odd byte. Nothing else in their request is odd. */
const CONTRADICTIONS: readonly FramingLines[] = [
  { name: "a length, then chunks", lines: (length) => `Content-Length: ${length}\r\nTransfer-Encoding: chunked\r\n` },
  { name: "chunks, then a length", lines: (length) => `Transfer-Encoding: chunked\r\nContent-Length: ${length}\r\n` },
  { name: "another host", lines: (length) => `Content-Length: ${length}\r\nHost: other\r\n` },
];
/** How often each contradiction is played: with other methods and lengths. */
const REPEATED = 3;

const LINES = [...FRAMING_LINES, ...Array.from({ length: REPEATED }, () => CONTRADICTIONS).flat()];

/** Each chunked body behind a plain `Transfer-Encoding`, then each framing line. The other properties follow from the seed. */
export const REQUEST_ATTACKS = CHUNKED_BODIES.length + LINES.length;
/** The numbers of those that a sample has too. */
export const CONTRADICTORY_REQUESTS = Array.from({ length: REPEATED * CONTRADICTIONS.length }, (_, nth) => REQUEST_ATTACKS - 1 - nth);

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
  const isPlain = nth >= CHUNKED_BODIES.length + FRAMING_LINES.length;
  const body = isPlain ? `3\r\nabc\r\n0\r\n\r\n${hidden}` : (ownBody ?? pick(CHUNKED_BODIES))(hidden);
  const framing = LINES[nth - CHUNKED_BODIES.length] ?? PLAIN_CHUNKED;
  const claimed = pick([body.length, body.length, body.length, 4, 0, body.length - hidden.length, body.length + 20]);
  const tried = framing.lines(claimed);
  const other = ownBody === undefined && !isPlain ? pick(OTHER_LINES)(pick([body.length, claimed])) : "";
  const framed = next(2) === 0 ? tried + other : other + tried;
  const before = pick(["", "", `${head("GET", "before")}\r\n`, `${head("PUT", "before")}Content-Length: 3\r\n\r\nabc`]);
  const [version, beside] = isPlain ? ["1.1", ""] : [pick(VERSIONS), pick(BESIDE)];
  const odd = `${head(pick(METHODS), "odd", version)}${beside}${framed}\r\n${body}`;
  const stream = `${before}${odd}${head("GET", "last")}Connection: close\r\n\r\n`;
  const cuts = pick([0, 0, 1, 3]);
  const at = Array.from({ length: cuts }, () => next(stream.length)).toSorted((a, b) => a - b);
  const isAmbiguous = hasLine(framed, /^Content-Length: \d+$/i) && hasLine(framed, /^Transfer-Encoding: chunked$/i);
  return { name, pieces: [0, ...at].map((from, index) => stream.slice(from, at[index])), isAmbiguous };
}

function hasLine(lines: string, pattern: RegExp): boolean {
  return lines.split("\r\n").some((line) => pattern.test(line));
}
