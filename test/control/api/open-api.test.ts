import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { createApi } from "../../../control/api/open-api.ts";
import { addConsole } from "../../../control/console/console-routes.ts";
import { openApiDeps } from "./fixtures/open-api-fixture.ts";

const ROOT = join(import.meta.dirname, "../../..");
const OFFLINE = { REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };

t.test("the OpenAPI document passes the linter", async (t) => {
  const { deps, close } = await openApiDeps();
  const { app } = await createApi(deps, addConsole);
  t.teardown(async () => {
    await app.close();
    await close();
  });
  await app.ready();
  const file = join(t.testdir(), "openapi.json");
  writeFileSync(file, JSON.stringify(app.swagger(), undefined, 2));
  const redocly = join(ROOT, "node_modules/.bin/redocly");
  // An error is a rejection, with the problems in its message.
  await t.resolves(
    promisify(execFile)(redocly, ["lint", file, "--config", join(ROOT, "conf/redocly.yaml")], {
      env: { PATH: dirname(process.execPath), ...OFFLINE },
    }),
  );
});
