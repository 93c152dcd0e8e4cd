import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { createApi } from "../../../control/api/open-api.ts";
import { addConsole } from "../../../control/console/console-routes.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { openApiDeps, openApiFixture } from "./fixtures/open-api-fixture.ts";

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

t.test("a user's sign-in does not wait for a hundred of another user", async (t) => {
  let elapsed = 0;
  // Each statement takes 10 ms, so only one write fits into a turn of the event loop.
  const clock = { ...createStillClock(), monotonic: () => (elapsed += 10) };
  const api = await openApiFixture(t, {}, clock);
  const [flood, other] = [await api.addUser("flood"), await api.addUser("other")];
  const signIn = ({ key }: typeof flood) => api.call("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${key}` } });
  const done: number[] = [];
  const many = Array.from({ length: 100 }, async () => {
    if ((await signIn(flood)).status === 200) done.push(200);
  });
  while (done.length === 0) await new Promise(setImmediate);
  t.equal((await signIn(other)).status, 200);
  t.ok(done.length < 50, `${done.length} of the others are done before`);
  await Promise.all(many);
  t.equal(done.length, 100);
});
