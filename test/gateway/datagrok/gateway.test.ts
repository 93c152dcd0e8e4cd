import { once } from "node:events";
import { createServer } from "node:http";
import t, { type Test } from "tap";
import WebSocket from "ws";
import { startBerth } from "../../fixtures/berth.ts";
import { openStand as openServer, packageOf } from "../../program/rights/fixtures/stand.ts";
import { listen } from "../../fixtures/server.ts";
import { openBetween, startGateway } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/**
 * `berth gateway` in front of a Datagrok server. That server is another berth, which test/contract holds against the clients' calls; nothing of it
 * knows of the gateway.
 */
const OWN = { name: "own", folders: ["square", "plain", "asleep", "idle"] };
const UNKNOWN_ID = "00000000-0000-0000-0000-000000000000";
const UNKNOWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
const NEVER = "3f1c9a52-7b0e-4d16-9a41-0123456789ad";

async function open(t: Test, env: Record<string, string> = {}) {
  const server = await openServer(t);
  await server.publish(OWN.name, files(), { authorization: `Dev ${server.berth.key}` });
  const ids = {
    square: await server.ready("own-square"),
    plain: await server.ready("own-plain"),
    asleep: await server.ready("own-asleep"),
    idle: await server.ready("own-idle"),
  };
  const between = await openBetween(t, server.berth.base);
  const gateway = await startGateway(t, between.base, { BERTH_DATAGROK_KEY: server.berth.key, ...env });
  const call = (path: string, token: string | undefined = server.berth.token, init: RequestInit = {}) =>
    fetch(`${gateway.base}/api${path}`, { ...init, headers: { ...(token === "" ? {} : { authorization: token }), ...(init.headers as object) } });
  const proxy = (id: string, path = "/square?number=4") => `/docker/containers/proxy/${id}${path}`;
  return {
    server,
    between,
    gateway,
    call,
    proxy,
    ids,
    look: (id: string) => `GET /api/docker/containers/${id}`,
    run: (id: string) => `GET /api/docker/containers/${id}/run?awaitStart=true`,
  };
}

/** All are on-demand but `plain`, which users alone start. */
function files(): Record<string, string> {
  const all = packageOf(OWN.name, OWN.folders);
  return {
    ...all,
    "dockerfiles/square/container.json": JSON.stringify({ on_demand: true }),
    "dockerfiles/idle/container.json": JSON.stringify({ on_demand: true, shutdown_timeout: 30 }),
    "dockerfiles/asleep/container.json": JSON.stringify({ on_demand: true }),
    "dockerfiles/plain/container.json": JSON.stringify({ on_demand: false }),
  };
}

t.test("a gateway without control takes container traffic off a running server", async (t) => {
  const { server, between, gateway, call, proxy, ids, look, run } = await open(t);
  const bob = await server.addPerson("bob");

  t.test("it warns at its start of a container that the server would stop in use", async (t) => {
    await eventually("the warning", async () => /"shutdownMinutes"/.test(gateway.output()));
    t.match(gateway.output(), new RegExp(`"container":"${ids.idle}".*"shutdownMinutes":30`));
    t.notMatch(gateway.output(), new RegExp(`"container":"${ids.square}".*"shutdownMinutes"`));
  });

  t.test("everything else passes through to that server: REST and signing in", async (t) => {
    const login = await call("/users/login/dev", "", { method: "POST", headers: { authorization: `Dev ${server.berth.key}` } });
    t.equal(login.status, 200);
    t.match(await login.json(), { isSuccess: true, token: String });
    const listed = (await (await call("/docker/containers")).json()) as { id: string }[];
    t.same(listed.map(({ id }) => id).toSorted(), Object.values(ids).toSorted());
    t.equal((await call("/docker/containers", "no-token")).status, 401);
  });

  t.test("a call without a valid token, or for no container, gets an error in the form that a container's clients read", async (t) => {
    for (const [status, answer] of [
      [401, await call(proxy(ids.square), "")],
      [401, await call(proxy(ids.square), "no-token")],
      [401, await call(proxy(ids.square), "Bearer \u00ff")],
      [404, await call(proxy(UNKNOWN_ID))],
      [400, await call(proxy(ids.plain))],
    ] as const) {
      t.equal(answer.status, status);
      t.equal(answer.headers.get("content-type"), "application/json");
      t.match(await answer.json(), { "datagrok-error": String });
    }
  });

  t.test("a hundred calls to a sleeping container have it run once, and all are answered by it", async (t) => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => call(proxy(ids.square))));
    t.same(new Set(answers.map(({ status }) => status)), new Set([200]));
    t.same(await answers[0]?.json(), { result: 16 });
    t.equal(between.count(run(ids.square)), 1);
  });

  t.test("one who may not start it is refused, and does not stand in the way of one who may", async (t) => {
    await server.berth.call(`/docker/containers/${ids.square}/stop?awaitStop=true`);
    await eventually("the gateway to know of it", async () => {
      const { status } = await call(proxy(ids.square), bob.token);
      return status === 403 ? true : undefined;
    });
    const [his, hers] = await Promise.all([call(proxy(ids.square), bob.token), call(proxy(ids.square))]);
    t.same([his.status, hers.status], [403, 200]);
    t.equal((await call(proxy(ids.square), bob.token)).status, 200, "once it runs, he may call it");
  });

  t.test("a WebSocket receives CONNECTED before anything of its container, which it wakes", async (t) => {
    await server.berth.call(`/docker/containers/${ids.square}/stop?awaitStop=true`);
    const socket = new WebSocket(`${gateway.base.replace("http", "ws")}/api/docker/containers/proxy-ws/${ids.square}/ws`, {
      headers: { cookie: `auth=${encodeURIComponent(server.berth.token)}` },
    });
    const received: string[] = [];
    socket.on("message", (message, isBinary) => received.push(`${isBinary ? "binary" : "text"}:${String(message)}`));
    await once(socket, "open");
    socket.send("hello");
    await eventually("the echo", async () => received.length >= 2);
    t.equal(received[0], "text:CONNECTED");
    socket.close(1000);
    await once(socket, "close");
  });

  t.test("a container that was stopped under a call's feet is found out past the cache, and run again", async (t) => {
    t.equal((await call(proxy(ids.square))).status, 200);
    await server.berth.call(`/docker/containers/${ids.square}/stop?awaitStop=true`);
    t.equal((await call(proxy(ids.square))).status, 200);
  });

  t.test("what runs is looked up once for each caller in a while, and each one's answer is that one's alone", async (t) => {
    between.instead = (incoming, answer) => {
      if (incoming.headers.authorization !== bob.token || incoming.url !== `/api/docker/containers/${ids.plain}`) return false;
      answer.writeHead(403, { "content-type": "application/json" }).end('{"#type":"ApiError","message":"no"}');
      return true;
    };
    await server.berth.call(`/docker/containers/${ids.plain}/run?awaitStart=true`);
    await eventually("the plain one to be seen running", async () => (await call(proxy(ids.plain))).status === 200);
    const before = between.count(look(ids.plain));
    const statuses = await Promise.all(
      Array.from({ length: 40 }, async (_, at) => (await call(proxy(ids.plain), at % 2 === 0 ? server.berth.token : bob.token)).status),
    );
    t.same([...new Set(statuses.filter((_, at) => at % 2 === 0))], [200]);
    t.same([...new Set(statuses.filter((_, at) => at % 2 === 1))], [403]);
    t.ok(between.count(look(ids.plain)) - before <= 2, "a question for each of the two");
    between.instead = undefined;
  });

  t.test("a start that fails is answered with that server's cause, and not requested again at once", async (t) => {
    between.instead = (incoming, answer) => {
      if (!incoming.url?.startsWith(`/api/docker/containers/${ids.asleep}/run`)) return false;
      answer.writeHead(500, { "content-type": "application/json" }).end('{"#type":"ApiError","message":"no capacity left on the server"}');
      return true;
    };
    const first = await call(proxy(ids.asleep));
    t.equal(first.status, 500);
    t.match(await first.json(), { "datagrok-error": /no capacity left on the server/ });
    t.same(
      (await Promise.all([call(proxy(ids.asleep)), call(proxy(ids.asleep))])).map(({ status }) => status),
      [500, 500],
    );
    t.equal(between.count(run(ids.asleep)), 1);
    between.instead = undefined;
  });

  t.test("a container that is reported as started before it listens is waited for", async (t) => {
    const late = createServer((_, answer) => answer.end("at last"));
    const { port } = await listen(t, createServer());
    let status = "stopped by system";
    between.instead = (incoming, answer) => {
      if (!incoming.url?.startsWith(`/api/docker/containers/${UNKNOWN}`)) return false;
      if (incoming.url.includes("/run")) status = "started";
      answer
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ id: UNKNOWN, name: "late", status, address: `127.0.0.2:${port}` }));
      return true;
    };
    const answer = call(proxy(UNKNOWN));
    await eventually("it to be run", async () => between.count(run(UNKNOWN)) > 0);
    await once(late.listen(port, "127.0.0.2"), "listening");
    t.teardown(() => late.close());
    t.equal(await (await answer).text(), "at last");
    between.instead = undefined;
  });

  t.test("a starting or stopping container is followed: up, or down and then up again", async (t) => {
    const { port } = await listen(
      t,
      createServer((_, answer) => answer.end("there")),
    );
    for (const [id, runs, states] of [
      ["3f1c9a52-7b0e-4d16-9a41-000000000001", 0, ["pending start", "starting", "starting", "started"]],
      ["3f1c9a52-7b0e-4d16-9a41-000000000002", 1, ["pending user stop", "stopping", "stopped by user", "starting", "started"]],
    ] as const) {
      const left: string[] = [...states];
      between.instead = (incoming, answer) => {
        if (!incoming.url?.startsWith(`/api/docker/containers/${id}`)) return false;
        const status = left.length > 1 ? left.shift() : left[0];
        answer.writeHead(200, { "content-type": "application/json" });
        answer.end(JSON.stringify({ id, name: "moving", status, onDemand: true, address: "127.0.0.1", port }));
        return true;
      };
      t.equal(await (await call(proxy(id))).text(), "there");
      t.equal(between.count(run(id)), runs);
    }
    between.instead = undefined;
  });

  t.test("no token is sent to a metadata address, whatever the server says", async (t) => {
    const id = "3f1c9a52-7b0e-4d16-9a41-0123456789ac";
    between.instead = (incoming, answer) => {
      if (incoming.url !== `/api/docker/containers/${id}`) return false;
      answer
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ id, name: "bad", status: "started", address: "169.254.169.254", port: 80 }));
      return true;
    };
    const answer = await call(proxy(id));
    t.equal(answer.status, 500);
    t.match(answer.statusText, "Container address refused");
    between.instead = undefined;
  });

  t.test("the server's restart is not noticed by calls to what runs, while waking fails at once", async (t) => {
    t.equal((await call(proxy(ids.square))).status, 200);
    t.equal((await call(proxy(ids.idle), bob.token)).status, 403, "it is known to be asleep");
    between.to = undefined;
    await server.berth.kill();
    t.equal((await call(proxy(ids.square))).status, 200);
    for (const cold of [await call(proxy(ids.idle), bob.token), await call(proxy(NEVER))]) {
      t.equal(cold.status, 503);
      t.ok(cold.headers.get("retry-after"));
    }
    const again = await startBerth({ data: server.data, env: { BERTH_DRIVER: "process" } });
    t.teardown(() => again.stop());
    between.to = again.base;
    await eventually("the server to get a request again", async () => (await call(proxy(NEVER))).status === 404);
    t.equal((await call(proxy(ids.square))).status, 200);
  });

  t.test("no token and no key is in what it writes", async (t) => {
    for (const secret of [server.berth.token, bob.token, server.berth.key]) t.notOk(gateway.output().includes(secret));
  });
});

t.test("a start that takes longer than a request may wait continues at the server, and the response has its status", async (t) => {
  const { between, call, proxy, run } = await open(t, { GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 1_500 } }) });
  const { port } = await listen(
    t,
    createServer((_, answer) => answer.end("there")),
  );
  let status = "stopped by system";
  between.instead = (incoming, answer) => {
    if (!incoming.url?.startsWith(`/api/docker/containers/${UNKNOWN}`)) return false;
    if (incoming.url.includes("/run")) {
      // The server responds once it is started, which takes longer.
      status = "starting";
      return true;
    }
    answer.writeHead(200, { "content-type": "application/json" });
    answer.end(JSON.stringify({ id: UNKNOWN, name: "slow", status, address: "127.0.0.1", port, lastLogs: "loading the model\n" }));
    return true;
  };
  const first = await call(proxy(UNKNOWN));
  t.equal(first.status, 504);
  t.same(await first.json(), {
    "datagrok-error":
      'slow was not ready within 1.5 s. The Datagrok server says that it is "starting". Try again. Last log lines:\nloading the model',
  });
  status = "started";
  t.equal(await (await call(proxy(UNKNOWN))).text(), "there");
  t.equal(between.count(run(UNKNOWN)), 1, "it was run once");
});
