import { execFile } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

const BERTH = join(import.meta.dirname, "../../berth.ts");

t.test("a control that stands still is reported by readyz and health, and a new gateway answers 503 to known callers until it is back", async (t) => {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env: { BERTH_DRIVER: "process", BERTH_WATCHDOG_SECONDS: "0" } });
  t.teardown(() => berth.stop());
  const health = () =>
    new Promise<{ code: unknown; output: string }>((resolve) => {
      const env = {
        PATH: process.env["PATH"],
        BERTH_DRIVER: "process",
        BERTH_DATA: join(data, "berth-data"),
        BERTH_EDGE_PORT: new URL(berth.base).port,
      };
      execFile(process.execPath, [BERTH, "health"], { env }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, output: stdout + stderr }));
    });
  const readyz = async () => (await fetch(`${berth.base}/readyz`)).json() as Promise<{ status: string; control?: string }>;
  t.strictSame(await readyz(), { status: "ready" });
  t.match(await health(), { code: 0, output: "ready\n" });

  const { control: [control = 0] = [], gateway: [gateway = 0] = [] } = rolesBelow(berth.pid);
  process.kill(control, "SIGSTOP");
  t.teardown(() => isAlive(control) && process.kill(control, "SIGCONT"));
  const output = await eventually("readyz to say it", async () => (await readyz()).control);
  t.match(output, /^unavailable since 20/);
  t.equal((await fetch(`${berth.base}/readyz`)).status, 200, "it serves what it knows");
  t.equal((await fetch(`${berth.base}/livez`)).status, 200);
  t.match(await health(), { code: 5, output: /degraded: control is unavailable since/ });

  process.kill(gateway, "SIGKILL");
  await eventually("another gateway", async () => rolesBelow(berth.pid)["gateway"]?.find((pid) => pid !== gateway));
  const path = "/docker/containers/proxy/1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
  const answer = await berth.call(path, { headers: { connection: "close" } });
  t.equal(answer.status, 503, "and never 401");
  t.ok(Number(answer.headers.get("retry-after")) >= 1);
  process.kill(control, "SIGCONT");
  await eventually("the caller to be known", async () => (await berth.call(path)).status === 404);
  t.match(await health(), { code: 0 });
});
