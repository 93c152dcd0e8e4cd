import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { packageOf } from "./rights/fixtures/stand.ts";

/** Two data folders, as of two machines, one after the other on one database. */
const server = await startPostgres(t);
const { url } = await server.database();
const [first, second] = [tempFolder(t), tempFolder(t)];
const key = randomBytes(32).toString("base64");
const gateways = await freePort();
const start = (data: string, env: Record<string, string> = {}) =>
  startBerth({
    data,
    env: {
      BERTH_DRIVER: "process",
      BERTH_DATABASE_URL: url,
      BERTH_CREDENTIALS_KEY: key,
      BERTH_ADMIN_KEY: "",
      BERTH_GATEWAYS_PORT: String(gateways),
      ...env,
    },
  });
const textOf = (data: string, name: string) => readFileSync(join(data, "berth-data", name), "utf8");
/** Larger than one part. */
const large = randomBytes(1_500_000);

t.test("another data folder continues with containers, files, keys and tokens of the same database", async (t) => {
  const one = await start(first);
  const published = await one.publish("shared", { ...packageOf("shared", ["web"]), "dockerfiles/web/large.bin": large });
  t.equal(published.status, 200, await published.text());
  const { id } = await one.container("shared-web");
  t.equal((await one.call(`/docker/containers/proxy/${id}/square?number=3`)).status, 200);
  t.equal((await one.call(`/docker/containers/${id}/stop?awaitStop=true`)).status, 200);
  await one.stop();

  const other = await start(second);
  t.teardown(() => other.stop());
  t.equal(textOf(second, "admin.key"), textOf(first, "admin.key"));
  t.equal(textOf(second, "gateways.token"), textOf(first, "gateways.token"));
  t.notOk(existsSync(join(second, "berth-data/packages")), "files are fetched when they are needed");
  t.equal((await other.container("shared-web")).id, id);
  t.equal((await other.call(`/docker/containers/${id}/run?awaitStart=true`)).status, 200);
  const answer = await other.call(`/docker/containers/proxy/${id}/square?number=4`);
  t.match(await answer.json(), { result: 16 });
  const { files } = (await server.query("SELECT files FROM images", url))[0] as { files: string };
  t.ok(readFileSync(join(second, "berth-data", files, "large.bin")).equals(large));

  const replaced = await other.publish("shared", packageOf("shared", ["web"]));
  t.equal(replaced.status, 200, await replaced.text());
  await eventually("the files of versions that nothing runs from are removed", async () => {
    const published = await other.publish("shared", packageOf("shared", ["web"]));
    await published.text();
    const rows = await server.query("SELECT DISTINCT folder FROM published_files WHERE path = 'large.bin'", url);
    return rows.length === 0;
  });
});

t.test("a process with another key refuses to start", async (t) => {
  const data = tempFolder(t);
  const refused = await start(data, { BERTH_CREDENTIALS_KEY: randomBytes(32).toString("base64") }).then(
    (berth) => berth.stop().then(() => ""),
    (error: Error) => error.message,
  );
  t.match(refused, /sealed with the key [0-9a-f]{16}; this process has the key/);
  t.notOk(existsSync(join(data, "berth-data/admin.key")));
});
