import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openReceiver, type ReceivedSpan } from "../fixtures/otlp-receiver.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Answers with the traceparent that it was sent. */
const APP = `import { createServer } from "node:http";
createServer((request, response) => response.end(request.headers.traceparent ?? "")).listen(process.env.PORT ?? 8080);`;
const FILES = {
  "package.json": JSON.stringify({ name: "traced", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node\nCOPY server.mjs /\nEXPOSE 8080\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
  "dockerfiles/app/server.mjs": APP,
};
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

t.test("a request that wakes a container is one trace, from the caller's span to the container's, through the wake in control", async (t) => {
  const receiver = await openReceiver(t);
  const env = {
    BERTH_DRIVER: "process",
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_EXPORTER_OTLP_HEADERS: "x-collector-key=open%20sesame",
    OTEL_SERVICE_NAME: "stand",
  };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const published = await berth.publish("traced", FILES);
  t.equal(published.status, 200, await published.text());
  const { id } = await eventually("the image", async () => {
    const entity = await berth.container("traced-app");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  const ask = async (traceparent?: string) =>
    (await berth.call(`/docker/containers/proxy/${id}/x`, traceparent === undefined ? {} : { headers: { traceparent } })).text();
  const of = (traceId: string) => receiver.spans.filter((span) => span.traceId === traceId);
  const named = (spans: readonly ReceivedSpan[], name: string) => {
    const matching = spans.filter((span) => span.name === name);
    if (matching.length !== 1) throw new Error(`${matching.length} spans ${name}, of ${spans.map((span) => span.name).join(", ")}`);
    return matching[0] as ReceivedSpan;
  };

  const toContainer = await ask(`00-${TRACE}-${PARENT}-01`);
  const spans = await eventually("all of its spans", async () => (of(TRACE).length >= 8 ? of(TRACE) : undefined));
  t.same(receiver.refused, []);
  const edge = named(spans, "GET proxy");
  const hold = named(spans, "hold");
  const wake = named(spans, "wake");
  t.match(edge, { parentSpanId: PARENT, kind: 2 });
  t.match(hold, { parentSpanId: edge.spanId });
  t.match(wake, { parentSpanId: hold.spanId });
  for (const phase of ["queue", "create", "boot"]) t.match(named(spans, phase), { parentSpanId: wake.spanId }, phase);
  t.match(named(spans, "connect"), { parentSpanId: edge.spanId });
  const forward = named(spans, "forward");
  t.match(forward, { parentSpanId: edge.spanId, kind: 3 });
  t.equal(toContainer, `00-${TRACE}-${forward.spanId}-01`, "what the container makes of it hangs below the call of it");
  for (const span of spans) t.ok(BigInt(span.startTimeUnixNano) <= BigInt(span.endTimeUnixNano), span.name);
  t.ok(BigInt(edge.startTimeUnixNano) <= BigInt(hold.startTimeUnixNano) && BigInt(hold.endTimeUnixNano) <= BigInt(edge.endTimeUnixNano));
  t.same([...receiver.services], ["stand"]);
  t.same([...receiver.keys], ["open sesame"]);

  const unsampled = `00-${"1".repeat(32)}-${PARENT}-00`;
  t.equal(await ask(unsampled), unsampled, "what its caller does not record goes on as it came");
  const own = (await ask()).split("-");
  t.equal(own[3], "01", "a trace that begins here is recorded");
  const begun = await eventually("the spans of that", async () => (of(own[1] ?? "").length >= 2 ? of(own[1] ?? "") : undefined));
  t.equal(named(begun, "GET proxy").parentSpanId, undefined);
  await berth.call(`/docker/containers/proxy/${id}/x`, { headers: { authorization: "unknown", traceparent: `00-${"2".repeat(32)}-${PARENT}-01` } });
  const refused = await eventually("the span of a refusal", async () => of("2".repeat(32))[0]);
  t.match(refused, { name: "GET proxy", status: { code: 2, message: "TOKEN_INVALID" } });
  t.same(of("1".repeat(32)), []);
  t.same(receiver.refused, []);
});
