import * as fc from "fast-check";
import t from "tap";
import type { Host } from "../../../../drivers/driver.ts";
import { Fault } from "../../../../lib/fault.ts";
import { parseBody } from "../../../../drivers/spawner/server/parse-request.ts";
import { parseSpec, foreignName, readServiceName } from "../../../../drivers/spawner/server/parse-spec.ts";

const image = { id: "sha256:1", exposed: [8080, 9090], command: ["node", "app.js"] };

t.test("whatever JSON a body is, it is read or refused in a sentence", (t) => {
  const near = fc.record(
    {
      image: fc.oneof(fc.constant("a/b:1"), fc.jsonValue()),
      env: fc.oneof(fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer())), fc.jsonValue()),
      cpu: fc.oneof(fc.double(), fc.string(), fc.jsonValue()),
      port: fc.oneof(fc.integer(), fc.jsonValue()),
      labels: fc.oneof(fc.record({ store: fc.string(), environment: fc.string(), container: fc.string(), generation: fc.integer() }), fc.jsonValue()),
      readiness: fc.oneof(fc.record({ kind: fc.constant("http"), path: fc.webPath(), port: fc.jsonValue() }), fc.jsonValue()),
      config: fc.jsonValue(),
      __proto__: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  const refused = (error: unknown) => error instanceof Fault && error.code === "REQUEST_INVALID" && /^[^\n]+\.$/.test(error.message);
  fc.assert(
    fc.property(fc.oneof(near, fc.jsonValue()), fc.string(), (sent, service) => {
      try {
        const { spec } = parseSpec({ host: "cvm", service }, parseBody(JSON.parse(JSON.stringify(sent))).body, { environment: "env" });
        const made = spec(image);
        return readServiceName(made.service) === made.service && Object.values(made.env).every((value) => typeof value === "string");
      } catch (error) {
        return refused(error);
      }
    }),
    { numRuns: 2_000 },
  );
  t.end();
});

t.test("a foreign name is a DNS label, always the same, and another for another", (t) => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 200 }),
      fc.string({ maxLength: 200 }),
      fc.string({ minLength: 1, maxLength: 63 }),
      (one, other, environment) => {
        const [name, again, different] = [one, one, other].map((each) => foreignName(environment, each));
        return readServiceName(name ?? "") === name && /^[a-z]/.test(name) && again === name && (one === other || different !== name);
      },
    ),
    { numRuns: 2_000 },
  );
  t.equal(foreignName("stand", "chem"), "stand-chem");
  t.equal(foreignName("stand", "stand-chem"), "stand-chem", "the one that answers tell");
  t.end();
});

t.test("of a foreign body, what is left out is filled in, and any change makes another generation", (t) => {
  const specOf = (body: object, host: Host = "cvm") =>
    parseSpec({ host, service: "chem" }, parseBody(body).body, { environment: "stand" }).spec(image);
  const plain = specOf({ image: "a", environmentVars: { A: "1", B: "2" } });
  t.match(plain, { image: "sha256:1", port: 8080, cpu: 0.25, memoryMb: 512, shmMb: 64, storageGb: 21, gpu: 0 });
  t.ok(Number.isSafeInteger(plain.labels.generation));
  t.equal(specOf({ environmentVars: { B: "2", A: "1" }, image: "a" }).labels.generation, plain.labels.generation, "in whatever order");
  for (const other of [
    { image: "a" },
    { image: "a", environmentVars: { A: "1", B: "3" } },
    { image: "a", environmentVars: { A: "1", B: "2" }, memory: 513 },
  ])
    t.not(specOf(other).labels.generation, plain.labels.generation);
  const moved = specOf({ image: "a", environmentVars: { A: "1", B: "2" } }, "datagrok");
  t.not(moved.labels.generation, plain.labels.generation, "the other host is a change too");
  t.end();
});

t.test("of berth's own body nothing is filled in that would change it", (t) => {
  const labels = { store: "s", environment: "e", container: "c", generation: 3 };
  const { spec, unresolved } = parseSpec({ host: "datagrok", service: "own" }, parseBody({ image: "sha256:9", labels, environmentVars: {} }).body, {
    environment: "stand",
    apiUrl: "http://datagrok:8080/api",
  });
  const made = spec({ id: "sha256:9", exposed: [], command: [] });
  t.notOk(unresolved);
  t.match(made, { service: "own", host: "datagrok", labels, image: "sha256:9" });
  t.equal(made.port, undefined, "it exposes none");
  t.strictSame(made.env, {}, "its control has injected what there is");
  t.end();
});

t.test("a foreign server's container gets the API's address and what queue workers read, unless the server sends them", (t) => {
  const envOf = (body: object) =>
    parseSpec({ host: "cvm", service: "py-pkg-celery" }, parseBody(body).body, { environment: "onprem", apiUrl: "http://datagrok:8080/api" }).spec(
      image,
    ).env;
  t.strictSame(envOf({ image: "registry:5000/datagrok/py-pkg-celery:1.0.0", env: { A: "1" } }), {
    DATAGROK_API_URL: "http://datagrok:8080/api",
    CELERY_HOSTNAME: "onprem-py-pkg-celery",
    TASK_QUEUE_NAME: "py-pkg-celery",
    A: "1",
  });
  const own = { DATAGROK_API_URL: "http://other/api", CELERY_HOSTNAME: "worker@1", TASK_QUEUE_NAME: "queue" };
  t.strictSame(envOf({ image: "datagrok/x", env: own }), own);
  t.strictSame(envOf({ image: `sha256:${"0".repeat(64)}` })["TASK_QUEUE_NAME"], undefined, "an id names no queue");
  t.equal(envOf({ image: "x@sha256:00" })["TASK_QUEUE_NAME"], "x");
  t.end();
});

t.test("readiness is what the body says, else the image's own check, else its port", (t) => {
  const labels = { store: "s", environment: "e", container: "c", generation: 3 };
  const check = { test: ["CMD-SHELL", "curl -f http://localhost:8080/health || exit 1"] };
  const read = (body: object, healthchecks: boolean, healthcheck?: typeof check) =>
    parseSpec({ host: "cvm", service: "own" }, parseBody({ image: "a", ...body }).body, { environment: "stand", healthchecks }).spec({
      ...image,
      ...(healthcheck ? { healthcheck } : {}),
    }).readiness;
  const http = { kind: "http", path: "/ready?a=1", port: 81, intervalMs: 1_000, timeoutMs: 500 };
  for (const body of [{}, { labels }]) {
    for (const readiness of [http, { kind: "port" }, { kind: "running" }]) t.strictSame(read({ ...body, readiness }, false, check), readiness);
    t.strictSame(read({ ...body, readiness: { kind: "healthcheck" } }, true), { kind: "healthcheck" });
    t.strictSame(read({ ...body, port: 80, readiness: { kind: "healthcheck" } }, false), { kind: "port" }, "which this driver cannot");
    t.strictSame(read({ ...body, port: 80 }, true), { kind: "port" });
  }
  t.strictSame(read({}, true, check), { kind: "healthcheck" });
  t.match(read({}, false, check), { kind: "http", path: "/health", port: 8080 });
  t.strictSame(read({ labels }, true, check), { kind: "running" }, "berth's control has decided, and it has no port");
  for (const wrong of [
    { kind: "ready" },
    { kind: "http" },
    { kind: "http", path: "health" },
    { kind: "http", path: "/a b" },
    { ...http, port: 0 },
    "http",
  ])
    t.throws(() => read({ readiness: wrong }, true), { code: "REQUEST_INVALID" }, JSON.stringify(wrong));
  t.end();
});

t.test("a foreign server's queue worker need not listen on the port that its image exposes", (t) => {
  const deployed = (body: object, more: object = {}, healthchecks = false) =>
    parseSpec({ host: "cvm", service: "own" }, parseBody({ image: "a", ...body }).body, { environment: "stand", healthchecks }).spec({
      ...image,
      command: ["/bin/sh", "-c", "celery -A tasks worker --loglevel=info"],
      ...more,
    });
  t.match(deployed({}), { port: 8080, readiness: { kind: "running" }, graceMs: 15_000 });
  const healthcheck = { test: ["CMD", "celery", "inspect", "ping"] };
  t.strictSame(deployed({}, { healthcheck }, true).readiness, { kind: "healthcheck", portStaysClosed: true });
  t.strictSame(deployed({}, { healthcheck }).readiness, { kind: "running" });
  t.strictSame(deployed({ readiness: { kind: "port" } }).readiness, { kind: "port" }, "what the body says wins");
  const labels = { store: "s", environment: "e", container: "c", generation: 3 };
  t.match(deployed({ labels, port: 8080 }), { readiness: { kind: "port" }, graceMs: 3_000 }, "berth's control has decided");
  t.end();
});
