import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { SeriesJson, WarmUpJson } from "../../control/api/schemas-series.ts";
import { hourOf } from "../../control/model/usual-hours.ts";
import { openStore, type Store } from "../../control/store/open-store.ts";
import { systemClock } from "../../lib/clock.ts";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { ADMIN_KEY, type Berth, startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { storeWeeksOfUse } from "../fixtures/weeks-of-use.ts";

const SERVER = `require("node:http").createServer((request, response) => response.end("here")).listen(Number(process.env.PORT), "127.0.0.1");`;
/** 15 s of idleness: berth measures what runs every 10 s. */
const FILES = {
  "package.json": JSON.stringify({ name: "demo", version: "1.0.0" }),
  "dockerfiles/model/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  "dockerfiles/model/server.cjs": SERVER,
  "dockerfiles/model/container.json": JSON.stringify({ on_demand: true, memory: 128, shutdown_timeout: 0.25 }),
};

/** The commands of the page, as they are written there. */
function commandsOfPage(): string[][] {
  const page = readFileSync(join(import.meta.dirname, "../../docs/warm-up.md"), "utf8");
  const [, block = ""] = /```sh\n([^`]+)```/.exec(page) ?? [];
  return block
    .trim()
    .split("\n")
    .map((line) => line.replace("./berth ", "").split(" "));
}

t.test("as on the page: a container is used, its hours are suggested, accepted, and then it is started for them", async (t) => {
  const data = tempFolder(t);
  const env = { BERTH_DRIVER: "process" };
  let berth: Berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  /** Between two runs of berth: its store is a file. */
  const inStore = async (work: (store: Store) => Promise<void>, setting: Record<string, string> = {}) => {
    await berth.stop();
    const store = await openStore({ folder: join(data, "berth-data"), clock: systemClock() });
    await work(store).finally(() => store.close());
    berth = await startBerth({ data, env: { ...env, ...setting } });
  };
  const type = (words: readonly string[]) =>
    typeBerth(words, { env: { PATH: process.env["PATH"], HOME: data, BERTH_SERVER: berth.base, BERTH_KEY: ADMIN_KEY } });
  const json = async <T>(path: string) => (await (await berth.call(path)).json()) as T;

  t.equal((await berth.publish("demo", FILES)).status, 200);
  const { id } = await berth.container("demo-model");
  t.match(await type(["suggestions"]), { code: 0, stdout: /^There are no suggestions\./ });
  t.match(await type(["suggestions", "demo-model", "--accept"]), { code: /[1-9]/, stderr: /demo-model has no usual hours/ });
  t.match(await type(["suggestions", "--accept"]), { code: /[1-9]/, stderr: /Usage: berth suggestions/ });
  t.equal((await berth.call(`/docker/containers/proxy/${id}/`)).status, 200);
  const { totals, savings } = await eventually(
    "the wait for its start",
    async () => {
      const series = await json<SeriesJson>(`/docker/containers/${id}/series?range=15m`);
      return series.totals.waits === 1 && series.savings.runHours > 0 ? series : undefined;
    },
    60_000,
  );
  t.ok(totals.waitSeconds > 0 && totals.waitSeconds < 60, `${totals.waitSeconds} s`);
  t.ok(savings.sleepHours >= 0);

  // Of each day, the hours around the current one: it is in the middle, however long the test takes.
  const hour = new Date().getUTCHours();
  await inStore(async (store) => {
    const [first] = (await store.useWeeks.of([id], 0)).get(id) ?? [];
    t.match(first, { used: true, starts: 1 }, "real use was counted");
    t.ok((first?.waitMs ?? 0) > 0 && (first?.runMs ?? 0) > 0);
    t.ok(Math.abs((first?.hour ?? 0) - hourOf(Date.now())) <= 1);
    await store.containers.update(id, { createdOn: 1 });
    await storeWeeksOfUse(store, id, Date.now(), (time) => (time.hour - hour + 25) % 24 <= 3);
  });
  await eventually("the suggestion, of which berth learns at its start", async () => (await type(["suggestions"])).stdout.includes("demo-model"));
  const { usual } = await json<WarmUpJson>(`/docker/containers/${id}/warm-up`);
  t.ok(usual.hours.length > 0 && usual.starts > 100, usual.hours.join("; "));
  const outputs = [];
  for (const words of commandsOfPage()) outputs.push(await type(words));
  t.equal(outputs.length, 4);
  const [list, one, accepted, explained] = outputs;
  t.match(list, { code: 0, stdout: /^demo-model +.* UTC.* GiB h$/m });
  t.match(one, {
    code: 0,
    stdout:
      /in at least 3 of the last 4 weeks\. Kept warm then, it would have saved \d+ cold starts \(requests waited \d+ s\).*\nKeep it warm then: berth suggestions demo-model --accept/,
  });
  t.match(accepted, { code: 0, stdout: /It is kept warm on .* \(admin\)\./ });
  t.match(explained, { code: 0, stdout: /usual hours/i });
  await berth.until("demo-model", ["started"]);
  t.match((await type(["explain", "demo-model"])).stdout, /It was started for (admin|its usual hours)/);

  t.match(await type(["suggestions", "demo-model", "--dismiss"]), { code: 0, stdout: /admin decided to keep it warm in no other hours/ });
  await berth.until("demo-model", ["stopped by system"]);
  t.match(await type(["suggestions", "demo-model", "--reset"]), { code: 0, stdout: /Keep it warm then: berth suggestions/ });

  await inStore(async () => {}, { BERTH_WARM_UP: "auto", BERTH_WARM_UP_CONTAINERS: "1" });
  await berth.until("demo-model", ["started"]);
  t.match((await type(["explain", "demo-model"])).stdout, /It was started for its usual hours \(.*, by BERTH_WARM_UP=auto\)/s);
  t.match(await json(`/docker/containers/${id}/wakes`), [{ for: "usualHours", by: null, outcome: "answered" }]);
  t.match(await json(`/docker/containers/${id}/warm-up`), { mode: "auto", chosen: { by: "auto", login: null } });
});
