import t from "tap";
import { HeadScan } from "../../../gateway/http1/head-scan.ts";
import { NOT_PLAIN, scanRequest, scanResponse } from "../../../gateway/http1/head-scanner.ts";
import { attackHeads } from "../../fuzz/attack-heads.ts";
import { compareHeads, type HeadKind } from "../../fuzz/compare-heads.ts";

// `npm run fuzz -- heads` goes on from other seeds.
const CASES = 60_000;
const SEED = 1;
const NO_EDITS = { remove: [], add: [] };

const PLAIN = {
  request: [
    "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    "POST /a HTTP/1.1\r\nContent-Length: 12\r\nHost: h\r\nConnection: close\r\n\r\n",
    "M-SEARCH / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  ],
  response: [
    "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\nx_y: z\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
  ],
} as const;

const scans = { request: scanRequest, response: scanResponse };

for (const kind of ["request", "response"] satisfies HeadKind[]) {
  t.test(`the scanner takes the usual heads of ${kind}s`, async (t) => {
    for (const text of PLAIN[kind]) t.equal(scans[kind](Buffer.from(`${text}rest`), 0, text.length + 4, 200, new HeadScan()), text.length, text);
  });

  t.test(`whatever byte stands at whatever place of a ${kind}, what is scanned is what would be parsed`, async (t) => {
    const { compare, tally } = compareHeads(kind);
    const failures: string[] = [];
    for (const text of PLAIN[kind]) {
      for (let at = 0; at < text.length; at++) {
        const memory = Buffer.from(`${text}rest`, "latin1");
        for (let byte = 0; byte < 256; byte++) {
          memory[at] = byte;
          const difference = compare(memory, 0, text.length, NO_EDITS);
          if (difference !== undefined) failures.push(difference);
        }
        // An end in the middle, with the rest of the head behind it from an earlier message.
        const cut = Buffer.from(text, "latin1");
        t.equal(scans[kind](cut, 0, at, 200, new HeadScan()), NOT_PLAIN);
      }
    }
    t.same(failures.slice(0, 3), []);
    t.ok(tally.scanned > tally.cases / 16, `${tally.scanned} of ${tally.cases} heads were plain`);
  });

  t.test(`generated ${kind}s and their mutants are scanned as they would be parsed`, async (t) => {
    const { cases, scanned, failures } = attackHeads(kind, SEED, CASES);
    t.same(failures, []);
    t.ok(scanned > cases / 8, `${scanned} of ${cases} heads were plain`);
  });
}

t.test("what two readers could read differently is the parser's", async (t) => {
  const lines = (text: string) => `GET / HTTP/1.1\r\nHost: h\r\n${text}\r\n`;
  const rows = [
    "GET / HTTP/1.0\r\nHost: h\r\nA: b\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
    "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /#x HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
    "CONNECT /xyz HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /abcdef HTTP/1.1\r\nA: b\r\nB: c\r\n\r\n",
    lines("Host: h\r\n"),
    lines("A:b\r\n"),
    lines("A:  b\r\n"),
    lines("A: b \r\n"),
    lines("A: b\tc\r\n"),
    lines("A : b\r\n"),
    lines("A: b\r\n c\r\n"),
    lines("A: b\n"),
    lines("A: b\r"),
    lines("X_A: b\r\n"),
    lines("A: \xe9\r\n"),
    lines("Content-Length: 1\r\nContent-Length: 1\r\n"),
    lines("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
    lines("Content-Length: 01\r\n"),
    lines("Content-Length: 1234567890123456\r\n"),
    lines("Transfer-Encoding: gzip, chunked\r\n"),
    lines("Connection: x-a\r\n"),
    lines("Upgrade: websocket\r\n"),
    lines("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    lines("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"),
    lines("Expect: 100-continue\r\n"),
    lines("A: b\r\n".repeat(200)),
  ];
  for (const row of rows)
    t.equal(scanRequest(Buffer.from(row, "latin1"), 0, row.length, 200, new HeadScan()), NOT_PLAIN, JSON.stringify(row.slice(0, 80)));
});
