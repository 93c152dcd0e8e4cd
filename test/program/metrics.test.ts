import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { scrape, total } from "../fixtures/metrics-page.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

const DEMO = join(import.meta.dirname, "../../conf/demo/dockerfiles/square");
const FILES = {
  "package.json": JSON.stringify({ name: "seen", version: "1.0.0" }),
  ...Object.fromEntries(readdirSync(DEMO).map((name) => [`dockerfiles/square/${name}`, readFileSync(join(DEMO, name), "utf8")])),
};
const PROXY = { route: "proxy", status: "2xx" };

t.test("one page tells what all processes counted: requests, a wake with its phases, the store, the driver, and that all are there", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", BERTH_METRICS_PORT: "0", BERTH_WORKERS: "2" } });
  t.teardown(() => berth.stop());
  t.equal((await berth.publish("seen", FILES)).status, 200);
  const { id } = await eventually("the image", async () => {
    const entity = await berth.container("seen-square");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  const square = `/docker/containers/proxy/${id}/square?number=4`;
  for (let i = 0; i < 6; i++) t.equal((await berth.call(square)).status, 200);
  t.equal((await berth.call(square, { headers: { authorization: "unknown" } })).status, 401);

  const counted = await eventually("all of it to be counted", async () => {
    const samples = await scrape(berth);
    return total(samples, "berth_requests_total", PROXY) === 6 ? samples : undefined;
  });
  t.equal(total(counted, "berth_processes"), 4, "the parent, control, and two gateways");
  t.equal(total(counted, "berth_build_info"), 1);
  t.equal(total(counted, "berth_container_requests_total", { container: "seen-square", status: "2xx" }), 6);
  t.equal(total(counted, "berth_request_seconds_count", { route: "proxy" }), 7);
  t.equal(total(counted, "berth_first_byte_seconds_count", { route: "proxy" }), 6);
  t.equal(total(counted, "berth_auth_failures_total", { where: "proxy", code: "TOKEN_INVALID" }), 1);
  t.ok(total(counted, "berth_bytes_total", { route: "proxy", direction: "out" }) > 6 * '{"result":16}'.length);
  t.equal(total(counted, "berth_wakes_total", { container: "seen-square", outcome: "started" }), 1);
  for (const phase of ["queue", "create", "boot", "connect"]) t.equal(total(counted, "berth_wake_phase_seconds_count", { phase }), 1, phase);
  t.equal(total(counted, "berth_holds_total", { outcome: "awake" }), 1);
  t.equal(total(counted, "berth_held_requests"), 0);
  t.equal(total(counted, "berth_feed_connected"), 2);
  t.equal(total(counted, "berth_control_gateways"), 2);
  t.equal(total(counted, "berth_feed_seq"), total(counted, "berth_control_seq"));
  t.equal(total(counted, "berth_containers", { state: "started" }), 1);
  t.equal(total(counted, "berth_driver_call_seconds_count", { verb: "deploy", outcome: "done" }), 1);
  t.ok(total(counted, "berth_store_commit_seconds_count") > 0);
  t.ok(total(counted, "berth_store_bytes", { part: "database" }) > 0);
  t.ok(total(counted, "berth_reconcile_seconds_count", { outcome: "done" }) > 0);
  t.ok(total(counted, "berth_upstream_connects_total", { outcome: "made" }) > 0);
  for (const process of ["serve", "control", "gateway"]) t.ok(total(counted, "process_cpu_seconds_total", { process }) > 0, process);
  for (const process of ["control", "gateway"])
    for (const part of ["p50", "p99", "max"])
      t.ok(Number.isFinite(total(counted, "berth_event_loop_delay_seconds", { process, part })), `${process} ${part}`);

  const [victim] = rolesBelow(berth.pid)["gateway"] ?? [];
  process.kill(victim ?? 0, "SIGKILL");
  await eventually("the gateway to be gone", async () => (isAlive(victim ?? 0) ? undefined : true));
  const after = await scrape(berth);
  t.equal(total(after, "berth_requests_total", PROXY), 6, "what a gateway had counted outlives it");
  t.equal((await berth.call(square)).status, 200);
  await eventually("what follows to be added to it", async () => total(await scrape(berth), "berth_requests_total", PROXY) === 7);
  await eventually("the restart to be counted", async () => total(await scrape(berth), "berth_process_restarts_total", { process: "gateway" }) === 1);
});
