import t from "tap";
import { openLeaderDatabase } from "../../../../control/leadership/leader-database.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { parsePostgresAddress } from "../../../../control/store/postgres/address.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { Fault } from "../../../../lib/fault.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

t.test("a fault of PostgreSQL has no text of the server, not even as its cause, which is logged", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const url = postgres.url.replace(/\/[^/]*$/, "/hidden_name");
  const open = () => openStore({ folder: tempFolder(t), clock: systemClock(), postgres: { ...postgres, url } });
  const database = openLeaderDatabase(parsePostgresAddress({ ...postgres, url }), { timeoutMs: 5_000, clock: systemClock() });
  t.teardown(() => database.close());
  for (const fails of [open, () => database.transaction("SELECT 1")]) {
    const fault = await fails().then(
      () => t.fail("it succeeded"),
      (error: unknown) => error as Fault,
    );
    t.match(fault, { code: "STORE_UNAVAILABLE", message: /3D000/, cause: undefined });
  }
  await server.stop("SIGKILL");
  const fault = await database.transaction("SELECT 1").catch((error: unknown) => error as Fault);
  t.match(fault, { code: "STORE_UNAVAILABLE", cause: { code: "ECONNREFUSED" } }, "an error of this machine stays");
});
