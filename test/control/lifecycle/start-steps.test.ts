import t from "tap";
import { createStartSteps, describeStep, type StartStep } from "../../../control/lifecycle/start-steps.ts";
import type { Readiness, Spec } from "../../../drivers/driver.ts";

const http = (port?: number): Readiness => ({ kind: "http", path: "/health", port, intervalMs: 1, timeoutMs: 1 });
const spec = (readiness: Readiness, port: number | undefined = 8080) => ({ port, graceMs: 3_000, readiness });
const plain = { sockets: [{ host: "0.0.0.0", port: 21_000 }], portVariable: 21_000 };

const ROWS: [step: Partial<StartStep>, sentence: string][] = [
  [{ spec: spec({ kind: "port" }) }, "It has been starting for 12 s, and nothing accepts connections on port 8080."],
  [{ spec: spec({ kind: "port" }), finding: plain }, "It has been starting for 12 s, and nothing accepts connections on port 21000."],
  [{ spec: spec(http()) }, "It has been starting for 12 s, and GET /health on port 8080 has not answered with 2xx or 3xx."],
  [{ spec: spec(http(9000)) }, "It has been starting for 12 s, and GET /health on port 9000 has not answered with 2xx or 3xx."],
  [{ spec: spec(http()), healthStatus: 503 }, "It has been starting for 12 s, and GET /health on port 8080 answers with 503, not with 2xx or 3xx."],
  [{ spec: spec({ kind: "healthcheck" }) }, "It has been starting for 12 s, and its HEALTHCHECK has not succeeded."],
  [{ spec: spec({ kind: "running" }) }, "It has been starting for 12 s, and counts as started after 3 s."],
  [{ launchedOn: undefined as never }, "The container engine has been creating it for 12 s."],
];

t.test("what a start waits for is a sentence", async (t) => {
  for (const [step, sentence] of ROWS) t.equal(describeStep({ since: 0, launchedOn: 0, ...step }, 12_000), sentence);
});

t.test("a note that changes is reported once, and ends with its start", async (t) => {
  const noted: string[] = [];
  const steps = createStartSteps({ now: () => 0, noted: (id) => noted.push(id) });
  const step = steps.begin("a");
  step.prepared(spec({ kind: "port" }) as Spec, { expected: [{ port: 8080, source: "EXPOSE" }], earlierMs: [] });
  step.found({ sockets: [] });
  step.found({ sockets: [] });
  t.equal(steps.noteOf("a"), "No process of it listens on a port.");
  t.strictSame(noted, ["a"]);
  step.found({ sockets: [{ host: "0.0.0.0", port: 8080 }] });
  t.equal(steps.noteOf("a"), undefined);
  t.strictSame(noted, ["a", "a"]);
  step.end();
  t.equal(steps.noteOf("a"), undefined);
});
