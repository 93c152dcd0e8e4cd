import t from "tap";
import { AccessLineWriter } from "../../gateway/access-line.ts";
import { AccessRecord, type ExchangeLabels } from "../../gateway/access-record.ts";
import { createForwardedEdits } from "../../gateway/forwarded-headers.ts";
import { createTraceContext } from "../../gateway/trace-context.ts";
import { createTrustedProxies } from "../../gateway/trusted-proxies.ts";
import { systemClock } from "../../lib/clock.ts";

const AT = Date.UTC(2026, 10, 30, 12, 5, 7, 9);
const clock = { ...systemClock(), now: () => AT };
const ODD = ['a"b', "back\\slash", "tab\tnew\nline\0", "del\x7f", "ä", "船", "🚢", "\ud83d", "", "x".repeat(300), "…".repeat(300)];
const NUMBERS = [0, 1, 9, 10, 0.04, 0.05, 0.1, 9.99, 12, 99.96, 100, 1_234.56, 999_999_999, 1_000_000_000, 2 ** 33, 2 ** 52, -1, Number.NaN];

function writeLine(
  labels: ExchangeLabels,
  more: { peer?: string; head?: AccessRecord["head"]; set?: (record: AccessRecord) => void },
  query = false,
) {
  const writer = new AccessLineWriter({ query, clock });
  const record = new AccessRecord({ over: () => undefined, keepsHeads: true, keepsTargets: false }, clock, more.head, more.peer ?? "127.0.0.1");
  record.decided(labels);
  more.set?.(record);
  record.finish("answered");
  const text = writer.bytes.toString("utf8", 0, writer.write(record));
  if (!text.endsWith("}\n")) throw new Error(`not a line: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

const headOf = (method: string, target: string, headers: Record<string, string> = {}) => ({
  method,
  target,
  upgrade: false,
  header: (name: string) => headers[name],
});

t.test("any text is written as JSON writes it, names with at most 200 characters", async (t) => {
  for (const text of ODD) {
    const line = writeLine({ route: "proxy", container: text, login: text }, { peer: text, head: headOf("GET", `/${text.replace("?", "")}`) });
    // A lone surrogate has no bytes.
    const shown = JSON.parse(JSON.stringify(text)).slice(0, 200).toWellFormed();
    const { peer, who, container, path } = line as Record<string, string>;
    t.same(
      { peer: peer?.slice(0, 200).toWellFormed(), who: who?.toWellFormed(), container: container?.toWellFormed() },
      { peer: shown, who: shown, container: shown },
    );
    t.equal(path?.slice(0, 200).toWellFormed(), `/${text}`.slice(0, 200).toWellFormed());
  }
});

t.test("numbers are written as JSON writes them, times with at most one digit behind the point", async (t) => {
  for (const number of NUMBERS) {
    const line = writeLine(
      { route: "api" },
      {
        set: (record) => {
          record.answered(200);
          record.countBytes(number, "client");
          record.countBytes(number, "container");
          record.identified(number);
          record.held(number);
          record.connected(number);
        },
      },
    );
    const parsed = (value: number) => JSON.parse(JSON.stringify(value)) as unknown;
    const tenths = parsed(Math.round(number * 10) / 10);
    t.match(
      line,
      { bytesIn: parsed(number), bytesOut: parsed(number), identityMs: tenths, holdMs: tenths, connectMs: tenths, status: 200 },
      String(number),
    );
  }
});

t.test("the fields have their order, and those without a value are missing", async (t) => {
  const line = writeLine({ route: "none" }, {});
  t.same(Object.keys(line), [
    "log",
    "time",
    "peer",
    "protocol",
    "route",
    "status",
    "ending",
    "bytesIn",
    "bytesOut",
    "identityMs",
    "holdMs",
    "connectMs",
    "totalMs",
  ]);
  t.match(line, { log: "access", time: "2026-11-30T12:05:07.009Z", protocol: "http1", route: "none", status: 0 });
  const full = writeLine(
    { route: "proxy", container: "demo", login: "ada", fault: "TOKEN_INVALID" },
    { head: headOf("GET", "/a?b", { "x-request-id": "mine" }), set: (record) => record.responseStarted(401) },
    true,
  );
  t.same(Object.keys(full).slice(0, 13), [
    "log",
    "time",
    "requestId",
    "peer",
    "who",
    "protocol",
    "method",
    "route",
    "container",
    "path",
    "status",
    "fault",
    "ending",
  ]);
  t.match(full, { requestId: "mine", path: "/a?b", fault: "TOKEN_INVALID", firstByteMs: Number });
});

t.test("the ids are those under which the request was forwarded", async (t) => {
  const edits = createForwardedEdits({ trusted: createTrustedProxies([]), trace: createTraceContext() });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const cases: [Record<string, string>, string | undefined][] = [
    [{}, undefined],
    [{ "x-request-id": "mine" }, "mine"],
    [{ traceparent }, undefined],
    [{ traceparent, "x-request-id": "mine" }, "mine"],
  ];
  for (const [headers, mine] of cases) {
    const { ids } = edits(headOf("GET", "/", { host: "a", ...headers }), { address: "127.0.0.1" }, false);
    const line = writeLine({ route: "proxy", ids }, { head: headOf("GET", "/", headers) });
    t.equal(line["traceId"], ids.traceparent.slice(3, 35));
    t.match(line["traceId"], "traceparent" in headers ? "0af7651916cd43dd8448eb211c80319c" : /^[0-9a-f]{32}$/);
    t.equal(line["requestId"], mine ?? line["traceId"]);
    t.equal(line["requestId"], ids.requestId);
  }
});
