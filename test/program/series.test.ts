import t from "tap";
import type { OverviewJson, RecentRequestsJson, SeriesJson } from "../../control/api/schemas-series.ts";
import type { ContainerPageJson } from "../../control/api/row-schemas.ts";
import { ADMIN_KEY, type Berth, startBerth } from "../fixtures/berth.ts";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** `/fail` is answered with 500. */
const SERVER = `require("node:http").createServer((request, response) => {
  response.statusCode = request.url.startsWith("/fail") ? 500 : 200;
  response.end("here");
}).listen(Number(process.env.PORT), "127.0.0.1");`;
const FILES = {
  "package.json": JSON.stringify({ name: "seen", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  "dockerfiles/app/server.cjs": SERVER,
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, cpu: 0.5, memory: 128 }),
};

const json = async <T>(berth: Berth, path: string) => (await (await berth.call(path)).json()) as T;

t.test("requests, a cold start, CPU and memory are measured, and a restart keeps them; the last requests are listed without queries", async (t) => {
  const data = tempFolder(t);
  const env = { BERTH_DRIVER: "process", BERTH_WORKERS: "2" };
  let berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  t.equal((await berth.publish("seen", FILES)).status, 200);
  const { id } = await berth.container("seen-app");
  const proxy = `/docker/containers/proxy/${id}`;
  for (let i = 0; i < 6; i++) t.equal((await berth.call(`${proxy}/square?token=hidden-${i}`)).status, 200);
  t.equal((await berth.call(`${proxy}/fail`)).status, 500);

  const recent = await eventually("the last requests", async () => {
    const entries = await json<RecentRequestsJson>(berth, `/docker/containers/${id}/requests`);
    return entries.length === 7 ? entries : undefined;
  });
  t.match(recent[0], { method: "GET", path: `/api${proxy}/fail`, status: 500, login: "admin" });
  t.strictSame(new Set(recent.slice(1).map(({ path, status }) => `${status} ${path}`)), new Set([`200 /api${proxy}/square`]));
  t.notMatch(JSON.stringify(recent), /hidden/);

  const measured = await eventually(
    "CPU and memory, and all requests",
    async () => {
      const series = await json<SeriesJson>(berth, `/docker/containers/${id}/series?range=15m`);
      return series.totals.requests === 7 && series.cpu.some((value) => value !== null) ? series : undefined;
    },
    60_000,
  );
  t.match(measured.totals, { requests: 7, errors: 1, starts: 1, failedStarts: 0 });
  t.ok((measured.totals.startMedian ?? 0) > 0);
  t.ok(measured.memory.some((value) => value !== null && value > 1_000_000));
  t.ok(measured.cpuReserved.includes(0.5));
  const { rows } = await json<ContainerPageJson>(berth, "/docker/containers/rows");
  t.ok((rows[0]?.memoryUseMb ?? 0) > 1 && rows[0]?.cpuUse !== null, "the last sample is in the list");
  const commandEnv = { PATH: process.env["PATH"], HOME: data, BERTH_SERVER: berth.base, BERTH_KEY: ADMIN_KEY };
  t.match(await typeBerth(["stats", "seen"], { env: commandEnv }), { code: 0, stdout: /^seen-app +\d\.\d\d +0\.5 +\d+ % +\d+ MB +128 MB +\d+ %$/m });
  t.match(JSON.parse((await typeBerth(["stats", "--json"], { env: commandEnv })).stdout), [{ name: "seen-app", cpu: 0.5, memoryMb: 128 }]);
  t.match(await typeBerth(["stats", "no-such"], { env: commandEnv }), { code: 0, stdout: /^No container runs\./ });

  await berth.stop();
  berth = await startBerth({ data, env: { ...env, BERTH_RECENT_REQUESTS: "off" } });
  const overview = await json<OverviewJson>(berth, "/docker/overview?range=1h");
  t.match(overview.series.totals, { requests: 7, errors: 1, starts: 1 });
  t.strictSame(
    overview.most.map(({ name, requests }) => [name, requests]),
    [["seen-app", 7]],
  );
  t.equal((await berth.call(`${proxy}/square`)).status, 200);
  t.strictSame(await json<RecentRequestsJson>(berth, `/docker/containers/${id}/requests`), [], "none is kept where the setting is off");
});
