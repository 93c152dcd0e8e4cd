import { get } from "node:http";
import t from "tap";
import { clockFrom, systemClock } from "../../../../lib/clock.ts";
import { SPAWNER_KEY } from "../../../fixtures/spawner.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { openStand, specBody } from "./fixture.ts";

const KEY = { "x-api-key": SPAWNER_KEY };

t.test("each route of openapi.json is called, and answers as it should", async (t) => {
  const { ask, world } = await openStand(t);
  world.usages.set("web", { cpuMs: 5, networkBytes: 7 });
  /** In the order in which they can follow each other. A stream is left again. */
  const calls: Record<string, () => Promise<{ status: number; text: string }>> = {
    "get /info": () => ask("GET", "/info", { headers: {} }),
    "post /validate/{host}/{service}/{tag}": () => ask("POST", "/validate/cvm/datagrok%2Flistening/1.0"),
    "post /deploy/{host}/{service}/{n}": () => ask("POST", "/deploy/cvm/web/1", { body: specBody("web") }),
    "get /services": () => ask("GET", "/services"),
    "get /services/{service}": () => ask("GET", "/services/web"),
    "get /services/{service}/usage": () => ask("GET", "/services/web/usage"),
    "get /services/{service}/logs": () => ask("GET", "/services/web/logs?tail=5"),
    "get /events": () => firstLine("/events"),
    "delete /services/{service}": () => ask("DELETE", "/services/web"),
  };
  const { port } = await openStand(t);
  async function firstLine(path: string) {
    const left = new AbortController();
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: KEY, signal: left.signal });
    const { value } = await (answer.body as ReadableStream<Uint8Array>).getReader().read();
    left.abort();
    return { status: answer.status, text: new TextDecoder().decode(value) };
  }
  const { status, text } = await ask("GET", "/openapi.json", { headers: {} });
  t.equal(status, 200);
  const { paths } = JSON.parse(text) as { paths: Record<string, Record<string, object>> };
  const described = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
  t.same(described.toSorted(), Object.keys(calls).toSorted());
  for (const [route, run] of Object.entries(calls)) {
    const answer = await run();
    t.equal(answer.status, 200, `${route}: ${answer.text.slice(0, 200)}`);
  }
});

t.test("without a key a caller may read the spawner's identity, and nothing else", async (t) => {
  const { ask } = await openStand(t, { environment: "stand-7" });
  t.strictSame(JSON.parse((await ask("GET", "/info", { headers: {} })).text), {
    name: "berth",
    version: "1.2.3",
    driver: "process",
    environment: "stand-7",
  });
  t.equal((await ask("HEAD", "/info", { headers: {} })).status, 200, "as some load balancers do");
  for (const [method, path] of [
    ["GET", "/services"],
    ["GET", "/services/x"],
    ["GET", "/services/x/logs"],
    ["DELETE", "/services/x"],
    ["GET", "/events"],
    ["POST", "/validate/cvm/x/1"],
    ["POST", "/deploy/cvm/x/1"],
    ["GET", "/no/such/route"],
  ] as const) {
    const answer = await ask(method, path, { headers: {} });
    t.equal(answer.status, 401, path);
    t.match(JSON.parse(answer.text), { "#type": "ApiError", code: "TOKEN_MISSING" });
  }
});

t.test("a service is deployed, seen, listened to and destroyed", async (t) => {
  const { ask } = await openStand(t);
  const deployed = JSON.parse((await ask("POST", "/deploy/cvm/web/1", { body: specBody("web") })).text) as Record<string, unknown>;
  t.match(deployed, { serviceName: "web", address: "127.0.0.1", phases: { create: Number, boot: Number } });
  const service = JSON.parse((await ask("GET", "/services/web")).text) as unknown;
  const labels = { store: "a-store", environment: "test", container: "web", generation: 1 };
  const { instance } = deployed;
  t.type(instance, "string");
  t.strictSame(service, { serviceName: "web", running: true, instance, address: "127.0.0.1", port: deployed["port"], labels });
  t.strictSame(JSON.parse((await ask("GET", "/services")).text), [service]);
  t.strictSame(JSON.parse((await ask("POST", "/deploy/datagrok/web/0")).text), { serviceName: "web", isSuccess: true });
  t.equal((await ask("GET", "/services/web")).status, 404);
  t.strictSame(JSON.parse((await ask("GET", "/services")).text), []);
  t.equal((await ask("DELETE", "/services/web")).status, 200, "twice is fine");
});

t.test("an image is looked at by what path or body name, and a slash in a name is written %2F", async (t) => {
  const { ask, world } = await openStand(t);
  t.match(JSON.parse((await ask("POST", "/validate/cvm/datagrok%2Flistening/1.0")).text), { id: "memory:datagrok/listening:1.0", exposed: [5353] });
  t.match(JSON.parse((await ask("POST", "/validate/cvm/any/1", { body: { image: "listening" } })).text), { id: "memory:listening" });
  const digest = `sha256:${"0".repeat(64)}`;
  const unknown = await ask("POST", `/validate/datagrok/registry%3A5000%2Fa%2Fb/${digest}`);
  t.equal(unknown.status, 500);
  t.match(JSON.parse(unknown.text), { code: "IMAGE_NOT_FOUND" });
  t.equal(world.callCount(`resolve registry:5000/a/b@${digest}`), 1);
});

t.test("the log tail of a failed container is in the answer, for users and for programs", async (t) => {
  const { ask } = await openStand(t);
  const answer = await ask("POST", "/deploy/cvm/bad/1", { body: specBody("bad", 1, { image: "memory:crashing" }) });
  t.equal(answer.status, 500);
  t.match(JSON.parse(answer.text), { code: "CONTAINER_CRASHED", innerMessage: "crash: giving up", logs: ["crash: giving up"] });
});

t.test("bad input is 400 with one sentence, whatever it is", async (t) => {
  const { ask, world } = await openStand(t);
  const post = (path: string, body?: string | object) => ask("POST", path, { body: body ?? "" });
  const cases: Record<string, () => Promise<{ status: number; text: string }>> = {
    "a host that there is not": () => post("/deploy/moon/web/1", specBody("web")),
    "a number above 1": () => post("/deploy/cvm/web/2", specBody("web")),
    "a number below 0": () => post("/deploy/cvm/web/-1", specBody("web")),
    "a number that is none": () => post("/deploy/cvm/web/one", specBody("web")),
    "no body": () => post("/deploy/cvm/web/1"),
    "a body that is not JSON": () => post("/deploy/cvm/web/1", "{"),
    "a body that is a list": () => post("/deploy/cvm/web/1", "[]"),
    "a body that is a string": () => post("/deploy/cvm/web/1", '"web"'),
    "no image": () => post("/deploy/cvm/web/1", { cpu: 1 }),
    "an image that is none": () => post("/deploy/cvm/web/1", specBody("web", 1, { image: "--privileged" })),
    "a negative size": () => post("/deploy/cvm/web/1", specBody("web", 1, { memory: -1 })),
    "a size that is text": () => post("/deploy/cvm/web/1", specBody("web", 1, { cpu: "much" })),
    "a number that is no number": () => post("/deploy/cvm/web/1", '{"image":"a","cpu":1e999}'),
    "a port beyond all": () => post("/deploy/cvm/web/1", specBody("web", 1, { port: 65_536 })),
    "a variable with an odd name": () => post("/deploy/cvm/web/1", specBody("web", 1, { environmentVars: { "A=B": "1" } })),
    "a variable that is an object": () => post("/deploy/cvm/web/1", specBody("web", 1, { environmentVars: { A: {} } })),
    "labels that lack one": () => post("/deploy/cvm/web/1", specBody("web", 1, { labels: { store: "x" } })),
    "a relative folder": () => post("/deploy/cvm/web/1", specBody("web", 1, { folder: "../.." })),
    "a config that is no object": () => post("/deploy/cvm/web/1", { image: "a", config: 1 }),
    "a service of berth's own with an odd name": () => post("/deploy/cvm/We..b/1", specBody("web")),
    "an odd name to look at": () => ask("GET", "/services/..%2F..%2Fetc"),
    "an odd name to destroy": () => ask("DELETE", "/services/A%00B"),
    "an odd tail": () => ask("GET", "/services/web/logs?tail=-1"),
    "two tails": () => ask("GET", "/services/web/logs?tail=1&tail=2"),
    "an odd generation": () => ask("DELETE", "/services/web?generation=new"),
    "an odd call": () => ask("DELETE", "/services/web?call=%20"),
    "a path that cannot be read": () => ask("GET", "/services/%zz"),
    "an image's name that is none": () => post("/validate/cvm/-x/1"),
  };
  for (const [name, run] of Object.entries(cases)) {
    const { status, text } = await run();
    t.equal(status, 400, `${name}: ${text}`);
    const { message } = JSON.parse(text) as { message: string };
    t.match(message, /^[^\n]+[.?]$/, name);
    t.notMatch(text, /\bat .*\.ts:\d+/);
  }
  t.strictSame(world.calls, [], "no driver call");
});

t.test("what is too long is refused as such, and a route that there is not, and a method", async (t) => {
  const { ask } = await openStand(t);
  t.equal((await ask("GET", `/services/${"x".repeat(2_000)}`)).status, 414);
  t.equal((await ask("GET", "/nonsense")).status, 404);
  t.equal((await ask("PUT", "/services/web")).status, 404);
  t.equal((await ask("POST", "/deploy/cvm/web/1/", { body: specBody("web") })).status, 404);
  t.equal((await ask("POST", "/deploy//web/1", { body: specBody("web") })).status, 400);
});

t.test("a huge body is refused while it comes, and by who shows no key not read at all", async (t) => {
  const { ask } = await openStand(t);
  const body = specBody("web", 1, { environmentVars: { A: "x".repeat(2_000_000) } });
  const tooLarge = await ask("POST", "/deploy/cvm/web/1", { body });
  t.equal(tooLarge.status, 413);
  t.match(JSON.parse(tooLarge.text), { code: "BODY_TOO_LARGE" });
  t.equal((await ask("POST", "/deploy/cvm/web/1", { body, headers: {} })).status, 401);
});

t.test("a foreign server's body is read as far as possible; unknown names are reported once, and no value is", async (t) => {
  const { ask, world, logged } = await openStand(t);
  const body = {
    dockerImage: "listening",
    env: { SECRET: "hush", NUMBER: 1 },
    config: { cpu: "0.5", memory: 256, on_demand: true },
    replicas: "hush-too",
    port: null,
  };
  const first = await ask("POST", "/deploy/cvm/Datagrok%2FChem_App/1", { body });
  t.equal(first.status, 200, first.text);
  const { serviceName } = JSON.parse(first.text) as { serviceName: string };
  t.match(serviceName, /^test-datagrok-chem-app-[0-9a-f]{8}$/, "environment, name, and nothing random");
  t.equal(world.callCount("resolve listening"), 1);

  await t.test("the second deploy is the same service, which is found by either name", async (t) => {
    const again = await ask("POST", "/deploy/cvm/Datagrok%2FChem_App/1", { body });
    t.match(JSON.parse(again.text), { serviceName, port: (JSON.parse(first.text) as { port: number }).port });
    t.strictSame(world.left(""), [serviceName]);
  });
  await t.test("with another variable it is another service of that name", async (t) => {
    const other = await ask("POST", "/deploy/cvm/Datagrok%2FChem_App/1", { body: { ...body, env: { SECRET: "new" } } });
    t.not((JSON.parse(other.text) as { port: number }).port, (JSON.parse(first.text) as { port: number }).port);
    t.strictSame(world.left(""), [serviceName]);
  });
  await t.test("destroyed by the name that the server knows, it is gone", async (t) => {
    t.match(JSON.parse((await ask("POST", "/deploy/cvm/Datagrok%2FChem_App/0", { body: {} })).text), { serviceName });
    t.strictSame(world.left(""), []);
  });
  const warnings = logged.filter((line) => line.includes("replicas"));
  t.equal(warnings.length, 1);
  t.match(warnings[0], "on_demand");
  t.notMatch(logged.join("\n"), /hush|SECRET/);
});

t.test("a plain name gets the environment in front, and the name of a service of berth's own stays", async (t) => {
  const { ask } = await openStand(t);
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/chem/1", { body: { image: "listening" } })).text), { serviceName: "test-chem" });
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/test-bio/1", { body: { image: "listening" } })).text), { serviceName: "test-bio" });
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/own/1", { body: specBody("own") })).text), { serviceName: "own" });
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/own/0")).text), { serviceName: "own" });
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/chem/0")).text), { serviceName: "test-chem" });
});

t.test("a foreign server finds its service by its own short name in every route, and control's by the whole one", async (t) => {
  const { ask, world } = await openStand(t);
  world.apps.set("talking", {
    exposed: [1],
    run: ({ say, listen }) => {
      say("chem began");
      listen();
    },
  });
  await ask("POST", "/deploy/cvm/chem/1", { body: { image: "talking" } });
  const short = JSON.parse((await ask("GET", "/services/chem")).text) as unknown;
  t.match(short, { serviceName: "test-chem", running: true });
  t.strictSame(JSON.parse((await ask("GET", "/services/test-chem")).text), short);
  const log = (await ask("GET", "/services/chem/logs")).text;
  t.match(log, /chem began/);
  t.equal((await ask("GET", "/services/test-chem/logs")).text, log);
  world.usages.set("test-chem", { cpuMs: 5, networkBytes: 7 });
  for (const name of ["chem", "test-chem"])
    t.strictSame(JSON.parse((await ask("GET", `/services/${name}/usage`)).text), { cpuMs: 5, networkBytes: 7 });
  t.equal((await ask("GET", "/services/bio/usage")).status, 404);
  t.equal((await ask("GET", "/services/bio")).status, 404);
  t.equal((await ask("GET", "/services/bio/logs")).text, "");
  // A service of a berth has its name for itself, even where a foreign one would be called so.
  await ask("POST", "/deploy/cvm/own/1", { body: specBody("own") });
  await ask("POST", "/deploy/cvm/test-own/1", { body: { image: "listening" } });
  t.match(JSON.parse((await ask("GET", "/services/own")).text), { serviceName: "own" });
  t.match(JSON.parse((await ask("DELETE", "/services/own?generation=1")).text), { serviceName: "own" });
  t.match(JSON.parse((await ask("GET", "/services/own")).text), { serviceName: "test-own" });
  t.match(JSON.parse((await ask("DELETE", "/services/own")).text), { serviceName: "test-own" });
  t.match(JSON.parse((await ask("DELETE", "/services/chem")).text), { serviceName: "test-chem", isSuccess: true });
  t.equal((await ask("GET", "/services/test-chem")).status, 404);
});

t.test("a foreign server's deploy that has not created its service yet is ended by its short name", async (t) => {
  const { ask, world } = await openStand(t);
  const deploy = ask("POST", "/deploy/cvm/slow/1", { body: { image: "mute" } });
  await eventually("it is deployed", () => world.callCount("deploy test-slow") === 1);
  t.match(JSON.parse((await ask("POST", "/deploy/cvm/slow/0", { body: {} })).text), { serviceName: "test-slow" });
  t.match(JSON.parse((await deploy).text), { code: "DEPLOY_SUPERSEDED" });
});

t.test("a long name stays a DNS label, and two of them stay apart", async (t) => {
  const { ask } = await openStand(t);
  const names = await Promise.all(
    ["a", "b"].map(async (end) => {
      const answer = await ask("POST", `/deploy/cvm/${"long".repeat(30)}${end}/1`, { body: { image: "listening" } });
      return (JSON.parse(answer.text) as { serviceName: string }).serviceName;
    }),
  );
  for (const name of names) t.match(name, /^[a-z][a-z0-9-]{0,61}[a-z0-9]$/);
  t.not(names[0], names[1]);
});

t.test("streams are bounded, and one that ends frees its place", async (t) => {
  const { ask, port } = await openStand(t, { limits: { streams: 1 } });
  const left = new AbortController();
  const first = await fetch(`http://127.0.0.1:${port}/events`, { headers: KEY, signal: left.signal });
  t.equal(first.status, 200);
  const second = await ask("GET", "/services/web/logs");
  t.equal(second.status, 503);
  t.ok(Number(second.headers["retry-after"]) > 0);
  left.abort();
  let status = 0;
  for (let tries = 0; tries < 200 && status !== 200; tries++) ({ status } = await ask("GET", "/services/web/logs"));
  t.equal(status, 200);
});

t.test("a client that takes nothing any more is let go of, and its place is free again", async (t) => {
  const system = systemClock();
  const clock = clockFrom({ ...system, after: (ms, task) => system.after(ms / 100, task) });
  const { ask, port, world } = await openStand(t, { limits: { streams: 1 }, clock });
  world.apps.set("chatty", {
    exposed: [1],
    run: ({ say, listen }) => {
      for (let line = 0; line < 20_000; line++) say("x".repeat(1_000));
      listen();
    },
  });
  t.equal((await ask("POST", "/deploy/cvm/chatty/1", { body: specBody("chatty", 1, { image: "memory:chatty" }) })).status, 200);
  const over = Promise.withResolvers<void>();
  const call = get({ port, path: "/services/chatty/logs", headers: KEY, agent: false }, (answer) => {
    answer.once("error", () => over.resolve());
    answer.once("close", () => over.resolve());
    // Not a byte is read for as long as it is held.
    setTimeout(() => answer.resume(), 1_000);
  });
  call.once("error", () => over.resolve());
  await over.promise;
  const again = await ask("GET", "/services/chatty/logs?tail=1");
  t.equal(again.status, 200);
  t.equal(again.text, `${"x".repeat(1_000)}\n`);
});

t.test("each client learns whether the orchestrator gives addresses to others by itself", async (t) => {
  for (const watchedAddresses of [true, false]) {
    const { driver: open } = await openStand(t, { watchedAddresses });
    const over = new AbortController();
    for await (const event of open().events({ signal: over.signal })) {
      t.strictSame(event, { kind: "connected", ...(watchedAddresses ? { watchedAddresses } : {}) });
      over.abort();
    }
  }
});
