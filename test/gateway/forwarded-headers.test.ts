import t, { type Test } from "tap";
import type { Head } from "../../gateway/decision.ts";
import { addedLines } from "../../gateway/http1/write-lines.ts";
import { createForwardedEdits } from "../../gateway/forwarded-headers.ts";
import { createTraceContext, isTraceparent } from "../../gateway/trace-context.ts";
import { createTrustedProxies } from "../../gateway/trusted-proxies.ts";
import { echoHead, exchange, get, ID, openContainer, openStand, PATH } from "./stand.ts";
import { listen } from "../fixtures/server.ts";
import { createServer } from "node:http";

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** What a container sees, by lower-case name; a repeated one with all its values. */
async function seenBehind(t: Test, options: { trusted?: string[] }): Promise<(lines: string[]) => Promise<Record<string, string[]>>> {
  const stand = await openStand(t, options);
  const { address } = await openContainer(t, echoHead);
  stand.set(ID, { kind: "awake", address });
  return async (lines) => headersIn(await exchange(stand.port, get(PATH, lines)));
}

function headersIn(answer: string): Record<string, string[]> {
  const { rawHeaders } = JSON.parse(answer.slice(answer.indexOf("{"), answer.lastIndexOf("}") + 1)) as { rawHeaders: string[] };
  const headers: Record<string, string[]> = {};
  for (let at = 0; at < rawHeaders.length; at += 2) (headers[(rawHeaders[at] ?? "").toLowerCase()] ??= []).push(rawHeaders[at + 1] ?? "");
  return headers;
}

const CLIENT_HEADERS = [
  "X-Forwarded-For: 6.6.6.6",
  "X-Forwarded-Proto: https",
  "X-Forwarded-Host: public.example",
  "X-Real-IP: 6.6.6.6",
  "Forwarded: for=6.6.6.6;proto=https",
];

t.test("forwarded headers of an untrusted client do not reach the container", async (t) => {
  const headers = await (await seenBehind(t, {}))(CLIENT_HEADERS);
  t.match(headers, { "x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["http"], "x-forwarded-host": ["stand.example"] });
  for (const name of ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]) t.equal(headers[name]?.length, 1, name);
  t.notOk("x-real-ip" in headers);
  t.notOk("forwarded" in headers);
});

t.test("a trusted proxy's word stands, and its address is added", async (t) => {
  const ask = await seenBehind(t, { trusted: ["loopback"] });
  t.match(await ask(CLIENT_HEADERS), {
    "x-forwarded-for": ["6.6.6.6, 127.0.0.1"],
    "x-forwarded-proto": ["https"],
    "x-forwarded-host": ["public.example"],
    "x-real-ip": ["6.6.6.6"],
    forwarded: ["for=6.6.6.6;proto=https"],
  });
  t.match(await ask([]), { "x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["http"], "x-forwarded-host": ["stand.example"] });
});

t.test("a chain in several lines is one chain", async (t) => {
  const ask = await seenBehind(t, { trusted: ["127.0.0.1"] });
  t.same((await ask(["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"]))["x-forwarded-for"], ["1.1.1.1, 2.2.2.2, 127.0.0.1"]);
});

t.test("a valid trace goes on unchanged, and its state with it", async (t) => {
  const headers = await (await seenBehind(t, {}))([`traceparent: ${TRACE}`, "tracestate: a=1,b=2"]);
  t.match(headers, { traceparent: [TRACE], tracestate: ["a=1,b=2"] });
});

t.test("a trace is begun where there is none, or none that is valid; the state of such a one goes", async (t) => {
  const ask = await seenBehind(t, {});
  const traces = new Set<string>();
  for (const lines of [[], ["traceparent: 00-abc", "tracestate: a=1"], [`traceparent: ${TRACE}`, `traceparent: ${TRACE}`], ["tracestate: a=1"]]) {
    const { traceparent = [], tracestate } = await ask(lines);
    t.equal(traceparent.length, 1);
    t.match(traceparent[0], /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    t.equal(tracestate, undefined);
    traces.add(traceparent[0] ?? "");
  }
  t.equal(traces.size, 4);
});

t.test("what a traceparent is", async (t) => {
  const rows: [text: string, valid: boolean][] = [
    [TRACE, true],
    [TRACE.replace("-01", "-00"), true],
    [`${TRACE}-more`, false],
    [`01${TRACE.slice(2)}`, true],
    [`cc${TRACE.slice(2)}-what-comes-later`, true],
    [`cc${TRACE.slice(2)}what-comes-later`, false],
    [`ff${TRACE.slice(2)}`, false],
    [TRACE.toUpperCase(), false],
    [`00-${"0".repeat(32)}-b7ad6b7169203331-01`, false],
    [`00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01`, false],
    [` ${TRACE}`, false],
    ["", false],
  ];
  for (const [text, valid] of rows) t.equal(isTraceparent(text), valid, text);
});

t.test("no two traces are alike, over many fillings of the pool", async (t) => {
  const trace = createTraceContext();
  const traces = Array.from({ length: 2_000 }, () => trace.next(true).traceparent);
  t.equal(new Set(traces).size, 2_000);
  t.equal(new Set(traces.map((one) => one.slice(36, 52))).size, 2_000);
  t.ok(traces.every(isTraceparent));
});

t.test("which clients the proxies in front are trusted for", async (t) => {
  const rows: [trusted: string[], address: string, trusts: boolean][] = [
    [[], "127.0.0.1", false],
    [["loopback"], "127.9.9.9", true],
    [["loopback"], "::1", true],
    [["loopback"], "10.0.0.1", false],
    [["private"], "172.31.0.1", true],
    [["private"], "172.32.0.1", false],
    [["private"], "fd00::1", true],
    [["10.1.0.0/16", "2001:db8::/32"], "10.1.255.1", true],
    [["10.1.0.0/16", "2001:db8::/32"], "10.2.0.1", false],
    [["10.1.0.0/16", "2001:db8::/32"], "2001:db8:1::1", true],
    [["10.1.0.0/16"], "::ffff:10.1.0.1", true],
    [["0.0.0.0/0"], "203.0.113.9", true],
    [["0.0.0.0/0"], "2001:db8::1", false],
    [["loopback"], "", false],
    [["loopback"], "unknown", false],
  ];
  for (const [trusted, address, trusts] of rows) {
    const proxies = createTrustedProxies(trusted);
    for (const time of ["once", "again"]) t.equal(proxies.trusts(address), trusts, `${trusted.join(" ")}: ${address}, ${time}`);
  }
});

t.test("the client is the last in the chain that is no trusted proxy", async (t) => {
  const { clientOf } = createTrustedProxies(["private"]);
  const rows: [chain: string | undefined, peer: string, client: string][] = [
    [undefined, "203.0.113.9", "203.0.113.9"],
    ["6.6.6.6", "203.0.113.9", "203.0.113.9"],
    [undefined, "10.0.0.1", "10.0.0.1"],
    ["6.6.6.6", "10.0.0.1", "6.6.6.6"],
    ["1.1.1.1, 6.6.6.6, 10.0.0.2", "10.0.0.1", "6.6.6.6"],
    ["10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"],
    ["1.1.1.1, unknown, 10.0.0.2", "10.0.0.1", "10.0.0.2"],
    ["1.1.1.1:4711", "10.0.0.1", "1.1.1.1"],
    ["[2001:db8::1]:4711", "10.0.0.1", "2001:db8::1"],
    ["2001:db8::1", "10.0.0.1", "2001:db8::1"],
    ["", "10.0.0.1", "10.0.0.1"],
    [",", "10.0.0.1", "10.0.0.1"],
    [`6.6.6.6,${"10.0.0.3,".repeat(30)}10.0.0.2`, "10.0.0.1", "6.6.6.6"],
    [`6.6.6.6,${"10.0.0.3,".repeat(7_000)}10.0.0.2`, "10.0.0.1", "10.0.0.3"],
  ];
  for (const [chain, peer, client] of rows) t.equal(clientOf(chain, peer), client, `${chain} from ${peer}`);
  t.equal(createTrustedProxies([]).clientOf("6.6.6.6", "10.0.0.1"), "10.0.0.1");
});

t.test("the API learns the client's address from the gateway alone", async (t) => {
  for (const [trusted, client] of [
    [[], "127.0.0.1"],
    [["loopback"], "6.6.6.6"],
  ] as const) {
    const stand = await openStand(t, { trusted: [...trusted] });
    await listen(t, createServer(echoHead), { path: stand.apiSocket });
    const headers = headersIn(await exchange(stand.port, get("/api/users", ["x-berth-client: 9.9.9.9", "X-Forwarded-For: 6.6.6.6"])));
    t.same(headers["x-berth-client"], [client]);
  }
});

t.test("a client's own token of a gateway goes nowhere, and the gateway's is shown to control alone", async (t) => {
  for (const shown of [undefined, "api mine"]) {
    const joined = await openStand(t, shown === undefined ? {} : { admits: () => ["x-berth-gateway", shown] });
    await listen(t, createServer(echoHead), { path: joined.apiSocket });
    const headers = headersIn(await exchange(joined.port, get("/feed", ["X-Berth-Gateway: feed stolen", "x-berth-gateway: feed stolen"])));
    t.same(headers["x-berth-gateway"], shown === undefined ? undefined : [shown]);
    const { address } = await openContainer(t, echoHead);
    joined.set(ID, { kind: "awake", address });
    t.equal(headersIn(await exchange(joined.port, get(PATH)))["x-berth-gateway"], undefined, "no container receives it");
  }
});

t.test("without a Host there is none to tell", async (t) => {
  const head: Head = { method: "GET", target: "/", upgrade: false, header: () => undefined };
  const edits = createForwardedEdits({ trusted: createTrustedProxies([]), trace: createTraceContext() })(head, { address: "::1" }, true);
  t.match(addedLines(edits), [
    ["X-Forwarded-For", "::1"],
    ["X-Forwarded-Proto", "https"],
    ["traceparent", /^00-/],
    ["X-Request-Id", /^[0-9a-f]{32}$/],
  ]);
});

t.test("a request id that can be one goes on as it came; any other is replaced by the trace's", async (t) => {
  const ask = await seenBehind(t, {});
  t.same((await ask(["X-Request-Id: req-1.2_3:4"]))["x-request-id"], ["req-1.2_3:4"]);
  for (const odd of [[], ["X-Request-Id: a b"], [`X-Request-Id: ${"x".repeat(129)}`], ["X-Request-Id: one", "X-Request-Id: two"]]) {
    const headers = await ask([`traceparent: ${TRACE}`, ...odd]);
    t.same(headers["x-request-id"], ["0af7651916cd43dd8448eb211c80319c"], odd.join());
  }
});
