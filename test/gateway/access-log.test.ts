import { execFileSync } from "node:child_process";
import { constants, openSync, readFileSync, readSync, renameSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { WebSocket } from "ws";
import { systemClock } from "../../lib/clock.ts";
import { openAccessLog } from "../../gateway/access-log.ts";
import { AccessRecord } from "../../gateway/access-record.ts";
import { ENGINE_NAMES, type EngineName } from "../../gateway/connections/engine.ts";
import type { PageFiles } from "../../gateway/waiting/waiting-page.ts";
import { Count } from "../../lib/metrics/open-metrics.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { exchange, get, ID, openContainer, openStand, PATH, type GatewayFixture, WS_PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

type Line = Record<string, unknown>;
type Written = { stand: GatewayFixture; path: string; reopen(): void; lines(count: number): Promise<Line[]> };

async function openWritten(t: Test, options: { query?: boolean; forwarder?: EngineName; waitingFiles?: PageFiles } = {}): Promise<Written> {
  const path = join(tempFolder(t), "access.log");
  const clock = systemClock();
  const log = openAccessLog({ to: path, query: options.query ?? false, dropped: new Count(), clock, onError: (error) => t.fail(error.message) });
  t.teardown(() => log.close());
  const { query: _, ...rest } = options;
  const stand = await openStand(t, { watchers: [log.write], ...rest });
  const read = () => readFileSync(path, "utf8").split("\n").slice(0, -1);
  return {
    stand,
    path,
    reopen: log.reopen,
    lines: async (count) => {
      await eventually(`${count} lines`, () => read().length >= count);
      return read().map((line) => JSON.parse(line) as Line);
    },
  };
}

t.test("a page that is shown while a container starts has its route, container and caller in its line", async (t) => {
  const { stand, lines } = await openWritten(t, { waitingFiles: { css: "", js: "" } });
  stand.set(ID, { kind: "asleep" });
  await exchange(stand.port, get(PATH, ["Accept: text/html", "Sec-Fetch-Mode: navigate", "Connection: close"]));
  t.match((await lines(1))[0], { who: "ada", route: "proxy", container: "demo", status: 503, ending: "answered" });
});

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: a line has the caller, the request, the container, the outcome, the bytes and the times; no query, no token`, async (t) => {
    const { stand, lines, path } = await openWritten(t, { forwarder });
    const { address } = await openContainer(t, (_request, response) => response.writeHead(201).end("x".repeat(1_000)));
    stand.set(ID, { kind: "asleep" });
    stand.onWake((id) => stand.set(id, { kind: "awake", address }));
    await exchange(stand.port, get(`${PATH}/a/b?password=hush`, ["X-Request-Id: mine", "Connection: close"]));
    await exchange(stand.port, get(PATH).replace("Authorization: token", "Authorization: sesame"));
    const [first = {}, second = {}] = await lines(2);
    t.match(first, {
      requestId: "mine",
      peer: "127.0.0.1",
      who: "ada",
      method: "GET",
      route: "proxy",
      container: "demo",
      status: 201,
      ending: "answered",
    });
    t.equal(first["path"], `${PATH}/a/b`);
    t.match(first["traceId"], /^[0-9a-f]{32}$/);
    t.ok(Number(first["bytesOut"]) > 1_000);
    t.ok(Number(first["holdMs"]) <= Number(first["totalMs"]) && Number(first["firstByteMs"]) <= Number(first["totalMs"]));
    t.match(second, { route: "proxy", status: 401, fault: "TOKEN_INVALID" });
    t.notOk("who" in second);
    t.notMatch(readFileSync(path, "utf8"), /hush|sesame|"token"/);
  });
}

t.test("the query is written if the setting says so; developer keys in paths are not, in any case", async (t) => {
  const { stand, lines, path } = await openWritten(t, { query: true });
  const { address } = await openContainer(t, (_request, response) => response.end());
  stand.set(ID, { kind: "awake", address });
  await exchange(stand.port, get(`${PATH}/a?b=c?d`));
  for (const target of [
    "/api/users/login/dev",
    "/api/users/login/dev/sesame",
    "/api/users/login/DEV/sesame",
    "/api/users/login/dev%2fsesame",
    "/api/users/login%2fdev/sesame",
    "/api/users/login/dev;/sesame",
    "/api/users/login/dev/ses?ame",
    "/api/users/login//dev/./sesame",
    "/api/users/login/%2564ev/sesame",
    "/api/packages/dev/sesame/scope/name",
    "/api/packages/dev/sesame/name",
    "/api/packages/dev/x/sesame/timestamps",
    // The API reads these as it reads the first.
    "/api/users/login/%64ev/sesame",
    "/api/%75sers/login/de%76/sesame",
    "/api/%75sers/%2Fa",
    "/api/docker/images/dev-tools/latest-compatible",
    "/api/docker/containers/aB3456789012345678901234567890-_",
    `${PATH}/login/page`,
    `${PATH}/users/login/dev/sesame`,
    "http://any:sesame@berth.example/api/info/server",
  ])
    await exchange(stand.port, get(target));
  const paths = (await lines(21)).map((line) => line["path"]);
  t.same(paths, [
    `${PATH}/a?b=c?d`,
    "/api/users/login/dev",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/users/login/***?***",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/packages/dev/***",
    "/api/packages/dev/***",
    "/api/packages/dev/***",
    "/api/users/login/***",
    "/api/users/login/***",
    "/api/%75sers/%2Fa",
    "/api/docker/images/dev/***",
    "/api/docker/containers/***",
    `${PATH}/login/page`,
    `${PATH}/users/login/dev/***`,
    // Refused before it is a request.
    undefined,
  ]);
  t.notMatch(readFileSync(path, "utf8"), /sesame/);
});

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: a client that leaves, bytes that are no request, and a WebSocket when it ends have their lines`, async (t) => {
    const { stand, lines } = await openWritten(t, { forwarder });
    const left = Promise.withResolvers<void>();
    const { address, server } = await openContainer(t, (_request, response) => response.once("close", left.resolve));
    server.on("upgrade", (_request, socket) => {
      socket.write(
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
      );
      socket.end();
    });
    stand.set(ID, { kind: "awake", address });
    const gone = exchange(stand.port, get(PATH)).catch(() => undefined);
    await eventually("the request to be there", () => (stand.uses.get(ID)?.open ?? 0) === 1);
    const socket = new WebSocket(`ws://127.0.0.1:${stand.port}${WS_PATH}`, { headers: { authorization: "token" } });
    socket.on("error", () => undefined);
    await new Promise((resolve) => socket.once("close", resolve));
    await exchange(stand.port, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    await stand.gateway.close();
    await Promise.all([gone, left.promise]);
    const byStatus = new Map((await lines(3)).map((line) => [line["status"], line]));
    t.match(byStatus.get(101), { route: "proxy-ws", container: "demo" });
    t.match(byStatus.get(400), { route: "none" });
    t.match(byStatus.get(0), { route: "proxy", ending: "left" });
  });
}

t.test("a file that was moved away is left for a new one", async (t) => {
  const { stand, path, reopen, lines } = await openWritten(t);
  await exchange(stand.port, get("/healthz"));
  await lines(1);
  renameSync(path, `${path}.1`);
  reopen();
  await exchange(stand.port, get("/readyz"));
  await eventually("the new file", () => {
    try {
      return readFileSync(path, "utf8").endsWith("\n");
    } catch {
      return false;
    }
  });
  t.match(await lines(1), [{ path: "/readyz", route: "health" }]);
});

t.test("without a reader lines are dropped and counted, and no request waits", async (t) => {
  const path = join(tempFolder(t), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const dropped = new Count();
  const clock = systemClock();
  const log = openAccessLog({ to: path, query: false, dropped, clock, onError: () => undefined });
  t.teardown(() => {
    // Its thread waits for a reader.
    const into = Buffer.alloc(65_536);
    const drain = setInterval(() => {
      try {
        while (readSync(reader, into) > 0);
      } catch {
        // Nothing more, for now.
      }
    }, 5);
    drain.unref();
    return log.close();
  });
  const record = new AccessRecord(
    { over: log.write, keepsHeads: true, keepsTargets: false },
    clock,
    { method: "GET", target: `/${"x".repeat(900)}`, header: () => undefined },
    "::1",
  );
  await eventually("a line to be dropped", () => {
    for (let i = 0; i < 1_000; i++) record.finish("answered");
    return dropped.value > 0;
  });
  t.ok(dropped.value > 0);
});
