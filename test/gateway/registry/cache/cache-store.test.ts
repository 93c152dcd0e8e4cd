import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openCacheStore } from "../../../../gateway/registry/cache/cache-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { openLog } from "../../../../lib/log.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { digestOf, MANIFEST } from "../registry-client.ts";

const FILES = 3_000;

t.test("what is stored while the cache counts its content counts too", async (t) => {
  const folder = tempFolder(t);
  const manifests = join(folder, "manifests/sha256/00");
  mkdirSync(manifests, { recursive: true });
  for (let nth = 0; nth < FILES; nth++) writeFileSync(join(manifests, `${nth}`), "x");
  const store = await openCacheStore({
    folder,
    maxBytes: 1e9,
    unusedMs: 1e9,
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => store.close());
  const body = Buffer.alloc(100_000, "manifest");
  await store.putManifest({ digest: digestOf(body), type: MANIFEST, body });
  await store.clean();
  t.ok(store.bytes() > body.length + FILES, `${store.bytes()} bytes`);
});
