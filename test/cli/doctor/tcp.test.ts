import { join } from "node:path";
import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look } from "./look.ts";

t.test("the check of TCP listeners names what keeps clients from a database, and starts none", async (t) => {
  const folder = tempFolder(t);
  const port = await freePort();
  const env = { XDG_RUNTIME_DIR: folder, BERTH_DRIVER: "process", BERTH_TCP_PORTS: `${port}-${port}` };
  const berth = await startBerth({ data: folder, env });
  t.teardown(() => berth.stop());
  const checked = { ...env, BERTH_DATA: join(folder, "berth-data"), BERTH_EDGE_PORT: new URL(berth.base).port, BERTH_ADMIN_KEY: berth.key };
  const checks = ["settings", "address", "certificate", "berth", "tcp"];
  const { tcp: before } = await look(t, checks, checked);
  t.match(before, { state: "ok", says: "0 of 1 ports assigned, at 127.0.0.1", problems: [{ kind: "warning" }] });

  const answer = await berth.publish("db", {
    "package.json": JSON.stringify({ name: "db", version: "1.0.0" }),
    "dockerfiles/db/Dockerfile": 'FROM scratch\nEXPOSE 5432\nCMD ["node", "server.mjs"]\n',
    "dockerfiles/db/container.json": JSON.stringify({ tcp: true, on_demand: true }),
  });
  t.equal(answer.status, 200);
  await eventually("its listener", async () => (await berth.container("db-db")).port === port);
  const { tcp: after } = await look(t, checks, checked);
  t.match(after, { state: "ok", says: "1 of 1 ports assigned, at 127.0.0.1" });
  t.match(JSON.stringify(after), /All 1 ports of BERTH_TCP_PORTS are assigned/);
  t.match(await berth.container("db-db"), { status: "stopped by system" });

  const { tcp: elsewhere } = await look(t, checks, { ...checked, BERTH_TCP_ADVERTISED_HOST: "no-such-host.invalid" });
  t.match(elsewhere, { state: "wrong" });
  const { tcp: off } = await look(t, checks, { ...checked, BERTH_TCP_PORTS: "" });
  t.match(off, { state: "not looked at" });
});
