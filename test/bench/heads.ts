/**
 * `npm run bench:heads`: what it costs to read a head, apply the rules and write it again, in µs of CPU, as the median of interleaved passes;
 * beside it Node's own parser, which reads only.
 */
import { createRequire } from "node:module";
import { createHttp1 } from "../../gateway/http1/message-reader.ts";

const REQUEST = Buffer.from(
  "GET /docker/containers/proxy/6b0f3c1e-2d5c-4c5f-9a53-3d7f0a1b2c3d/api/values?limit=20 HTTP/1.1\r\n" +
    "Host: berth.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: application/json\r\n" +
    "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nAuthorization: 0123456789abcdef0123456789\r\n\r\n",
  "latin1",
);
const RESPONSE = Buffer.from(
  "HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 36\r\n" +
    'ETag: W/"24-abcdefghijklmnop"\r\nDate: Tue, 24 Nov 2026 02:46:43 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n',
  "latin1",
);
const CHUNKED = Buffer.from('24\r\n{"answer":42,"is":"thirty-six byte"}\r\n0\r\n\r\n', "latin1");
const LARGE = Buffer.concat([Buffer.from("fff0\r\n", "latin1"), Buffer.alloc(65_520, 120), Buffer.from("\r\n0\r\n\r\n", "latin1")]);
const EDITS = {
  remove: ["x-forwarded-for"],
  add: [
    ["X-Forwarded-For", "10.0.0.1"],
    ["X-Forwarded-Proto", "https"],
    ["X-Forwarded-Host", "berth.example.com"],
    ["x-user-api-key", "0123456789abcdef0123456789"],
  ] as const,
};
const NOTHING = { remove: [], add: [] };
const HALF = 150;
const out = Buffer.alloc(4_096);

const http1 = createHttp1({ underscoreHeaders: "drop" });
const requests = http1.requests();
const responses = http1.responses();
let sink = 0;

const cases: Record<string, () => void> = {
  [`request of ${REQUEST.length} bytes: read`]: () => {
    sink += requests.readHead(REQUEST, 0, REQUEST.length);
  },
  "request: read, look up 8 names, write": () => {
    sink += requests.readHead(REQUEST, 0, REQUEST.length);
    const { head } = requests;
    for (const name of ["x-user-api-key", "authorization", "cookie", "origin", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"])
      sink += head.header(name)?.length ?? 0;
    sink += head.put(out, 0, "/api/values?limit=20", EDITS);
  },
  "request in two pieces: read": () => {
    requests.readHead(REQUEST, 0, HALF);
    sink += requests.readHead(REQUEST, HALF, REQUEST.length);
  },
  [`response of ${RESPONSE.length} bytes: read, write`]: () => {
    sink += responses.readHead(RESPONSE, 0, RESPONSE.length);
    sink += responses.head.put(out, 0, NOTHING);
  },
  "chunked body of 36 bytes": () => {
    sink += responses.readChunked(CHUNKED, 0, CHUNKED.length);
  },
  "chunked body of 64 KiB in one chunk": () => {
    sink += responses.readChunked(LARGE, 0, LARGE.length);
  },
  ...nodesOwn(),
};

function nodesOwn(): Record<string, () => void> {
  // Deprecated, and the only way to what Node's `http` reads with.
  const { HTTPParser } = createRequire(import.meta.url)("node:_http_common");
  const parser = new HTTPParser();
  parser[HTTPParser.kOnHeadersComplete] = () => 0;
  return {
    "request: Node's own parser, which reads only": () => {
      parser.initialize(HTTPParser.REQUEST, {});
      sink += parser.execute(REQUEST) as number;
    },
  };
}

const rounds = 20_000;
const times = new Map<string, number[]>(Object.keys(cases).map((name) => [name, []]));
for (let pass = 0; pass < 9; pass++) {
  for (const [name, act] of Object.entries(cases)) {
    const begun = process.threadCpuUsage();
    for (let round = 0; round < rounds; round++) act();
    const { user, system } = process.threadCpuUsage(begun);
    const micros = (user + system) / rounds;
    // The first passes compile.
    if (pass >= 2) times.get(name)?.push(micros);
  }
}
for (const [name, all] of times) console.log(`${(all.toSorted((a, b) => a - b)[3] ?? 0).toFixed(2).padStart(8)} µs  ${name}`);
console.log(sink > 0 ? "" : "nothing was read");
