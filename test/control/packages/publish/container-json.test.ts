import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { containerKeysOf, containerSchema, readContainerJson } from "../../../../control/packages/publish/container-json.ts";

const read = (json: unknown) => readContainerJson(JSON.stringify(json), "dockerfiles/x/container.json");

t.test("a folder without container.json gets the documented defaults", async (t) => {
  const { config, env, image, warnings } = readContainerJson(undefined, "");
  t.strictSame(
    { config, env, image, warnings },
    {
      config: { cpu: 0.25, memoryMb: 512, gpu: 0, shmMb: 64, storageGb: 21, onDemand: false },
      env: {},
      image: undefined,
      warnings: [],
    },
  );
});

t.test("every key arrives where it belongs", async (t) => {
  const { config, env, image, warnings } = read({
    cpu: 1.5,
    memory: 1024,
    gpu: 1,
    on_demand: true,
    shutdown_timeout: 0.05,
    shm_size: 0,
    storage: 30,
    keep_warm: ["Mon-Fri 08:00-18:00 Europe/Berlin", "sun 22:00-02:00"],
    depends_on: ["db", "cache", "db"],
    max_concurrency: 4,
    max_minutes: 90,
    shutdown_grace_seconds: 60,
    env: { A: "1" },
    image: "ghcr.io/owner/name:1.0@sha256:00",
    tcp: true,
    protocol: "h2c",
    port: 8080,
  });
  t.strictSame(config, {
    cpu: 1.5,
    memoryMb: 1024,
    gpu: 1,
    onDemand: true,
    shutdownTimeoutMinutes: 0.05,
    shmMb: 0,
    storageGb: 30,
    keepWarm: ["Mon-Fri 08:00-18:00 Europe/Berlin", "sun 22:00-02:00"],
    dependsOn: ["db", "cache"],
    maxConcurrency: 4,
    maxMinutes: 90,
    shutdownGraceSeconds: 60,
    tcp: true,
    protocol: "h2c",
    port: 8080,
  });
  t.strictSame(env, { A: "1" });
  t.equal(image, "ghcr.io/owner/name:1.0@sha256:00");
  t.strictSame(warnings, []);
});

t.test("health and worker say when a container counts as started", async (t) => {
  const read = (json: object) => readContainerJson(JSON.stringify(json), "f/container.json").config;
  t.match(read({ worker: true }), { worker: true, health: undefined });
  t.match(read({ worker: false }), { worker: false });
  const health = { path: "/health?deep=1", port: 8081, intervalSeconds: 2.5, timeoutSeconds: 1 };
  t.strictSame(read({ health }).health, health);
  t.strictSame(read({ health: { path: "/", interval_seconds: 2, timeout_seconds: 3 } }).health, { path: "/", intervalSeconds: 2, timeoutSeconds: 3 });
  t.strictSame(containerKeysOf(read({ health, worker: true })).health, health, "and back");
  const wrong = [
    true,
    "/health",
    {},
    { path: "health" },
    { path: "/a b" },
    { path: "/", port: 0 },
    { path: "/", intervalSeconds: 0 },
    { path: "/", retries: 3 },
  ];
  for (const health of wrong) t.throws(() => read({ health }), { code: "PACKAGE_INVALID", message: /health is .*allowed: an object with `path`/ });
  t.throws(() => read({ worker: "yes" }), { code: "PACKAGE_INVALID" });
});

t.test("every spelling of no time-out is none", async (t) => {
  for (const shutdown_timeout of [null, 0]) t.notOk("shutdownTimeoutMinutes" in read({ shutdown_timeout }).config);
});

t.test("timeout_minutes is read as shutdown_timeout, which wins, and a note says so", async (t) => {
  const alone = read({ on_demand: true, timeout_minutes: 30 });
  t.equal(alone.config.shutdownTimeoutMinutes, 30);
  t.match(alone.warnings, [/timeout_minutes is an older name of shutdown_timeout; its value is used/]);
  t.equal(read({ timeoutMinutes: 7 }).config.shutdownTimeoutMinutes, 7);
  t.notOk("shutdownTimeoutMinutes" in read({ timeout_minutes: null }).config);

  for (const both of [
    { timeout_minutes: 30, shutdown_timeout: 5 },
    { shutdown_timeout: 5, timeout_minutes: 30 },
  ]) {
    t.equal(read(both).config.shutdownTimeoutMinutes, 5);
    t.match(read(both).warnings, [/shutdown_timeout is taken/]);
  }
  t.equal(read({ shutdown_timeout: null, timeout_minutes: 30 }).config.shutdownTimeoutMinutes, undefined);
  t.same(containerKeysOf(alone.config)["shutdown_timeout"], 30);
  t.notOk("timeout_minutes" in containerKeysOf(alone.config));
});

/** The keys and values of every container.json that public packages of @datagrok on npm and in its repository have. */
const PUBLIC: readonly Record<string, unknown>[] = [
  { cpu: 0.5, memory: 1024 },
  { gpu: 1, cpu: 2, memory: 3072 },
  { on_demand: true, shutdown_timeout: 30 },
  { cpu: 2, memory: 16_385, on_demand: true },
  { cpu: 2, memory: 4096, storage: 64, on_demand: true, shutdown_timeout: 60 },
  { cpu: 1, memory: 2048, on_demand: true, timeout_minutes: 30 },
  { cpu: 1, environmentVars: { db: "#{x.moltrack}" } },
  { env: { DATAGROK_MAX_CONCURRENT_TASKS: "12" } },
  { cpu: 1.5, gpu: 1, memory: 2048, on_demand: true, shutdown_timeout: 60, storage: 25, env: { CONN: "#{x.Package:Entity}", LOGIN: "login" } },
  { shm_size: 64, image: "owner/name:1.0", port: 8000 },
];

t.test("no key of a public package is unknown", async (t) => {
  for (const json of PUBLIC)
    t.same(
      read(json).warnings.filter((warning) => warning.includes("unknown")),
      [],
      JSON.stringify(json),
    );
});

t.test("both spellings of env are taken, and the documented one wins", async (t) => {
  const { env, warnings } = read({ environmentVars: { A: "old", B: 2, C: true }, env: { A: "new" } });
  t.strictSame(env, { A: "new", B: "2", C: "true" });
  t.match(warnings, [/\bA\b/]);
});

t.test("replicas has defaults, both spellings, and no meaning for one replica", async (t) => {
  t.same(read({ replicas: { max: 4 } }).config.replicas, { min: 0, max: 4, targetConcurrency: 10, windowSeconds: 60 });
  const whole = { min: 1, max: 4, targetConcurrency: 2, windowSeconds: 30, affinity: "cookie" };
  t.same(read({ replicas: whole }).config.replicas, whole);
  t.same(read({ replicas: { min: 1, max: 4, target_concurrency: 2, window_seconds: 30, affinity: "cookie" } }).config.replicas, whole);
  t.equal(read({ replicas: { max: 1 } }).config.replicas, undefined);
  for (const other of ["tcp", "worker"]) t.throws(() => read({ replicas: { max: 2 }, [other]: true }), { code: "PACKAGE_INVALID" });
});

t.test("unknown keys are named, with what was probably meant", async (t) => {
  const { warnings } = read({ memmory: 1, "on-demand": true, constructor: 1, whatever: 1 });
  t.match(warnings, [/"memmory".*memory/, /"on-demand".*on_demand/, /"constructor"/, /"whatever"/]);
  t.notMatch(warnings[3], /mean/);
});

const WRONG: readonly (readonly [key: string, value: unknown])[] = [
  ["cpu", 0],
  ["cpu", "1"],
  ["cpu", -1],
  // Engines would round it to 0, which is no limit.
  ["cpu", 1e-10],
  ["max_concurrency", 0],
  ["max_concurrency", 1.5],
  ["max_minutes", 0.05],
  ["max_minutes", 600_000],
  ["max_minutes", "60"],
  ["shutdown_grace_seconds", 0],
  ["shutdown_grace_seconds", 121],
  ["shutdown_grace_seconds", 2.5],
  ["replicas", 3],
  ["replicas", {}],
  ["replicas", { max: 0 }],
  ["replicas", { max: 51 }],
  ["replicas", { max: 2, min: 3 }],
  ["replicas", { max: 2, target_concurrency: 0 }],
  ["replicas", { max: 2, window_seconds: 5 }],
  ["replicas", { max: 2, affinity: "ip" }],
  ["replicas", { max: 2, maximum: 3 }],
  ["depends_on", "db"],
  ["depends_on", [1]],
  ["depends_on", ["../db"]],
  ["depends_on", Array.from({ length: 11 }, (_, index) => `c${index}`)],
  ["keep_warm", "Mon-Fri 08:00-18:00"],
  ["keep_warm", ["Mon-Fri 8-18"]],
  ["keep_warm", ["Monday 08:00-18:00"]],
  ["keep_warm", ["Mon-Fri 08:00-08:00"]],
  ["keep_warm", ["Mon-Fri 24:00-08:00"]],
  ["keep_warm", ["Mon-Fri 08:00-25:00"]],
  ["keep_warm", ["Mon-Fri 08:60-18:00"]],
  ["keep_warm", ["Mon-Fri 08:00-18:00 Europe/Atlantis"]],
  ["keep_warm", ["Mon-Fri 08:00-18:00 Europe/Berlin please"]],
  ["keep_warm", [7]],
  ["memory", 0.5],
  ["memory", "512"],
  ["memory", null],
  ["gpu", -1],
  ["tcp", "5432"],
  ["protocol", "h2"],
  ["protocol", true],
  ["on_demand", "true"],
  ["shutdown_timeout", -1],
  ["timeout_minutes", "30"],
  ["shm_size", 1.5],
  ["storage", 0],
  ["env", ["A=1"]],
  ["env", { A: null }],
  ["env", { A: "a\0b" }],
  ["env", { A: {} }],
  ["env", { "A=B": "1" }],
  ["environmentVars", "A=1"],
  ["image", ""],
  ["image", "has space"],
  ["image", 1],
  ["port", 0],
  ["port", 65_536],
  ["port", "80"],
];

t.test("a wrong value is refused, and the sentence names the file and the key", async (t) => {
  for (const [key, value] of WRONG) {
    t.throws(
      () => read({ [key]: value }),
      { code: "PACKAGE_INVALID", message: new RegExp(`dockerfiles/x/container.json: ${key} is`) },
      `${key} ${JSON.stringify(value)}`,
    );
  }
});

t.test("all wrong values are reported at once", async (t) => {
  t.throws(() => read({ cpu: 0, port: 0 }), { code: "PACKAGE_INVALID", message: /cpu is 0.*port is 0/ });
});

t.test("what is no JSON object is refused", async (t) => {
  for (const text of ["", "{", "[]", "null", '"x"']) t.throws(() => readContainerJson(text, "x"), { code: "PACKAGE_INVALID" }, text);
  t.equal(readContainerJson('\uFEFF{"cpu":1}', "x").config.cpu, 1, "a byte order mark is no mistake");
});

t.test("keys of several words may be written as JavaScript does, and the schema has both spellings", async (t) => {
  const { config, warnings } = readContainerJson('{"$schema":"x","onDemand":true,"shmSize":128}', "container.json");
  t.match(config, { onDemand: true, shmMb: 128 });
  t.same(warnings, []);
  const both = readContainerJson('{"onDemand":true,"on_demand":false}', "container.json");
  t.equal(both.config.onDemand, false);
  t.match(both.warnings, [/onDemand and on_demand mean the same/]);
  const { properties } = containerSchema() as { properties: object };
  for (const key of ["on_demand", "onDemand", "env", "environmentVars", "shutdown_timeout", "shutdownTimeout", "port"]) t.ok(key in properties, key);
  const written = readFileSync(join(import.meta.dirname, "../../../../conf/container.schema.json"), "utf8");
  t.same(JSON.parse(written), containerSchema(), "npm run docs writes it");
});
