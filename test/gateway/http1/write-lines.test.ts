import t from "tap";
import type { Head, HeaderLine, WrittenLines } from "../../../gateway/decision.ts";
import { createForwardedEdits } from "../../../gateway/forwarded-headers.ts";
import { createTraceContext, isTraceparent } from "../../../gateway/trace-context.ts";
import { createTrustedProxies } from "../../../gateway/trusted-proxies.ts";
import { addedLines, ConstantLines } from "../../../gateway/http1/write-lines.ts";

/** The bytes of written lines within other bytes, none of which may change. */
function bytesOf(lines: WrittenLines): string {
  const out = Buffer.alloc(lines.size + 4, 0xff);
  const end = lines.put(out, 2);
  if (end !== lines.size + 2 || [0, 1, end, end + 1].some((at) => out[at] !== 0xff)) throw new Error("It writes elsewhere");
  return out.toString("latin1", 2, end);
}

function textOf(lines: readonly HeaderLine[]): string {
  return lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}

t.test("the bytes of written lines are those of their texts", async (t) => {
  const trace = createTraceContext();
  for (let count = 0; count < 1_000; count++) {
    const lines = trace.next(count % 2 === 0);
    t.equal(bytesOf(lines), textOf(lines.lines()));
    t.ok(isTraceparent(lines.traceparent), lines.traceparent);
  }
  const constant = new ConstantLines([
    ["A", "1"],
    ["B", "\u00e9"],
  ]);
  t.equal(bytesOf(constant), textOf(constant.lines()));
});

t.test("lines that could become others are never made", async (t) => {
  for (const line of [
    ["A", "1\r\nB: 2"],
    ["A\r\n", "1"],
    ["A b", "1"],
    ["", "1"],
    ["A", "\u010a"],
  ] as const)
    t.throws(() => new ConstantLines([line]));
});

t.test("the lines of a client are the same, whether they are made for it or for its request", async (t) => {
  const edits = createForwardedEdits({ trusted: createTrustedProxies([]), trace: createTraceContext() });
  const linesOf = (host: string, tls: boolean, address: string, id?: string) => {
    const headers: Record<string, string | undefined> = { host, "x-request-id": id };
    const head: Head = { method: "GET", target: "/", upgrade: false, header: (name) => headers[name] };
    const made = edits(head, { address }, tls);
    const lines = addedLines(made).toSorted(([one], [other]) => one.localeCompare(other));
    const trace = lines.find(([name]) => name === "traceparent")?.[1] ?? "";
    t.equal(made.ids.traceparent, trace);
    t.equal(made.ids.requestId, id ?? trace.slice(3, 35));
    return Object.fromEntries(lines);
  };
  for (const host of ["a.example", "a.example", "a.example", "b.example", "a.example", "b.example", "b.example"]) {
    for (const [tls, address, id] of [
      [true, "10.0.0.1", undefined],
      [false, "10.0.0.1", "mine"],
      [false, "10.0.0.2", undefined],
    ] as const) {
      t.match(linesOf(host, tls, address, id), {
        "X-Forwarded-For": address,
        "X-Forwarded-Proto": tls ? "https" : "http",
        "X-Forwarded-Host": host,
        ...(id === undefined ? { "X-Request-Id": /^[0-9a-f]{32}$/ } : {}),
      });
    }
  }
});
