import type { HeaderEdits } from "../../gateway/decision.ts";
import { HeadScan } from "../../gateway/http1/head-scan.ts";
import { NOT_PLAIN, scanRequest, scanResponse } from "../../gateway/http1/head-scanner.ts";
import { createHttp1, MessageRefused, type RequestHead, type ResponseHead } from "../../gateway/http1/message-reader.ts";
import { plainLines } from "../gateway/http1/plain-lines.ts";

export type HeadKind = "request" | "response";

/** `scanned`: heads that the scanner took. */
export type HeadTally = { cases: number; scanned: number; failures: string[] };

const MAX_LINES = 200;
/** Names that decisions ask for. */
const LOOKED_UP = [
  "host",
  "cookie",
  "authorization",
  "x-user-api-key",
  "x-forwarded-for",
  "accept",
  "content-length",
  "connection",
  "a",
  "x-a",
  "x-a-b",
];

export type HeadComparison = {
  /** Compares the readings of bytes `at`..`end`. Undefined: they agree; else what differs. */
  compare(memory: Buffer, at: number, end: number, edits: HeaderEdits): string | undefined;
  readonly tally: HeadTally;
};

/**
 * Compares the scanner with the parser: what the scanner takes, the parser must take, with the same end, method, target, lines and framing, and the same
 * bytes must be sent on. What the scanner does not take is the parser's, so there is nothing to compare.
 */
export function compareHeads(kind: HeadKind): HeadComparison {
  const tally: HeadTally = { cases: 0, scanned: 0, failures: [] };
  const scan = new HeadScan();
  const both = [true, false].map((scans) => {
    const http1 = createHttp1({ underscoreHeaders: "drop", scans });
    return kind === "request" ? http1.requests() : http1.responses();
  });
  const scanHead = kind === "request" ? scanRequest : scanResponse;

  const compare: HeadComparison["compare"] = (memory, at, end, edits) => {
    tally.cases++;
    const scanned = scanHead(memory, at, end, MAX_LINES, scan);
    if (scanned === NOT_PLAIN) return undefined;
    tally.scanned++;
    try {
      const [seen, expected] = both.map((reader) => {
        const next = reader.readHead(memory, at, end);
        return next === -1 ? "more bytes are needed" : describe(reader.head, next, edits);
      });
      if (seen !== expected) return `scanned: ${seen}\n  parsed:  ${expected}`;
      // Worked out in another way, for some.
      return tally.scanned % 16 === 0 ? checkWritten(both[0]?.head as RequestHead, kind, edits) : undefined;
    } catch (error) {
      if (error instanceof MessageRefused) return `the parser refuses it: ${error.message}`;
      return String(error);
    } finally {
      for (const reader of both) reader.close();
    }
  };
  return { compare, tally };
}

function describe(head: RequestHead | ResponseHead, next: number, edits: HeaderEdits): string {
  const kind =
    "method" in head
      ? [head.method, head.target, head.bodyKind, head.websocket, head.expectsContinue]
      : [head.status, head.reason, head.bodyKind("GET"), head.bodyKind("HEAD"), head.upgrade];
  const values = LOOKED_UP.map((name) => head.header(name));
  return JSON.stringify([
    next,
    kind,
    head.minorVersion,
    head.bodyLength,
    head.persistent,
    head.length,
    head.names(),
    values,
    written(head, edits),
    head.text,
  ]);
}

function written(head: RequestHead | ResponseHead, edits: HeaderEdits): string {
  return "method" in head ? head.write("/target", edits) : (head.write(edits) ?? head.text);
}

/** Only the lines that belong there, each ended by the only CRLF in it. */
function checkWritten(head: RequestHead | ResponseHead, kind: HeadKind, edits: HeaderEdits): string | undefined {
  const lines = plainLines(head.text, kind).filter(([name]) => !edits.remove.includes(name.toLowerCase()));
  const first = "method" in head ? `${head.method} /target HTTP/1.1` : `HTTP/1.1${head.text.slice(8, head.text.indexOf("\r\n"))}`;
  const wanted = [first, ...[...lines, ...edits.add].map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
  const sent = written(head, edits);
  return sent === wanted ? undefined : `sent:   ${JSON.stringify(sent)}\n  wanted: ${JSON.stringify(wanted)}`;
}
