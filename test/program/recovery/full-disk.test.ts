import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { smallDisk } from "../../fixtures/small-disk.ts";
import { packageOf } from "../rights/fixtures/stand.ts";

/** A whole berth whose data folder runs out of space. */
const data = smallDisk(t, "size=24m");
const berth = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
t.teardown(() => berth.stop());
const filler = join(data, "filler");

/** Takes all that is left. */
function fill(): void {
  for (let size = 1_048_576, index = 0; size >= 512; size = Math.floor(size / 2)) {
    try {
      for (;;) writeFileSync(`${filler}-${index++}`, Buffer.alloc(size, 1));
    } catch {
      // Down to the last piece.
    }
  }
}
function free(): void {
  for (let index = 0; index < 200; index++) rmSync(`${filler}-${index}`, { force: true });
}

t.test("with a full disk running containers are served, and new commands are refused and not half done; with space again all goes on", async (t) => {
  const published = await berth.publish("full", packageOf("full", ["running", "asleep"]));
  t.equal(published.status, 200, await published.text());
  const running = (await berth.container("full-running")).id;
  const asleep = (await berth.container("full-asleep")).id;
  t.equal((await berth.call(`/docker/containers/${running}/run?awaitStart=true`)).status, 200);
  const ask = () => berth.call(`/docker/containers/proxy/${running}/square?number=3`);
  t.equal((await ask()).status, 200);

  fill();
  // The write-ahead log has some space left, for a command or two.
  let refused: Response | undefined;
  for (let tries = 0; tries < 500 && refused === undefined; tries++) {
    for (const command of ["run", "stop"] as const) {
      const answer = await berth.call(`/docker/containers/${asleep}/${command}`);
      if (answer.status >= 400) refused ??= answer;
      else await answer.text();
    }
    fill();
  }
  t.equal(refused?.status, 507);
  t.match(await refused?.json(), { "#type": "ApiError", code: "STORE_FULL" });
  const again = await ask();
  t.equal(again.status, 200, "traffic needs no disk");
  await again.text();
  t.equal((await berth.call("/docker/containers")).status, 200, "what is stored can be read");

  free();
  t.equal((await berth.call(`/docker/containers/${asleep}/run?awaitStart=true`)).status, 200);
  t.equal((await berth.container("full-asleep")).status, "started");
  t.equal((await berth.call(`/docker/containers/${asleep}/stop?awaitStop=true`)).status, 200);
});
