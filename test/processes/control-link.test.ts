import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { GATEWAY_TOKEN_FILE } from "../../gateway/contract.ts";
import { serveControlLink } from "../../processes/control-link.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

t.test("the file of the gateways' token is read at times, not for each request, also while it is missing", async (t) => {
  const data = tempFolder(t);
  const clock = createStillClock();
  const env = { BERTH_DATA: data, BERTH_DATABASE_URL: "postgres://berth@db/berth", BERTH_CONTROL: "https://two.internal:8443" };
  const socket = join(data, "socket");
  const runtime = { feedSocket: socket, apiSocket: socket, registrySocket: socket, registryAdminSocket: socket, parentSocket: socket };
  const link = serveControlLink({ settings: readSettings({ env }).settings, runtime, clock });
  const token = () => link.api.admits?.()?.[1];
  const file = join(data, GATEWAY_TOKEN_FILE);
  const [first, second] = ["a".repeat(64), "b".repeat(64)];

  t.equal(token(), "api ");
  writeFileSync(file, `${first}\n`);
  t.equal(token(), "api ", "no time has passed");
  await clock.advance(200);
  t.equal(token(), `api ${first}`);

  writeFileSync(file, `${second}\n`);
  t.equal(token(), `api ${first}`);
  await clock.advance(5_000);
  t.equal(token(), `api ${second}`);

  rmSync(file);
  await clock.advance(5_000);
  t.equal(token(), `api ${second}`, "the last one stays");
});
