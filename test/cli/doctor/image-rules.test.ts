import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look } from "./look.ts";

t.test("doctor shows the rules for images, and what keeps them from being checked", async (t) => {
  const folder = tempFolder(t);
  const key = join(folder, "cosign.pub");
  writeFileSync(key, generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }));
  const rowOf = async (env: Record<string, string>) =>
    (await look(t, ["settings", "image rules"], { PATH: process.env["PATH"] ?? "", BERTH_DATA: folder, BERTH_DRIVER: "docker", ...env }))[
      "image rules"
    ];
  t.match(await rowOf({}), { state: "not looked at" });
  t.match(await rowOf({ BERTH_IMAGE_KEYS: key, BERTH_IMAGE_ALLOW: "datagrok/*" }), {
    state: "ok",
    says: "cosign verifies signatures with 1 key; allowed are datagrok/*",
  });
  const missing = await rowOf({ BERTH_IMAGE_KEYS: key, BERTH_IMAGE_COSIGN: join(folder, "cosign") });
  t.match(missing, { state: "wrong" });
  t.match(
    JSON.stringify(missing),
    /cosign, which verifies signatures of images, is not installed\. Install cosign, or set BERTH_IMAGE_COSIGN to its path\./,
  );
  t.match(await rowOf({ BERTH_IMAGE_KEYS: join(folder, "none.pub") }), { state: "wrong" });
  t.match(await rowOf({ BERTH_IMAGE_MAX_MB: "10", BERTH_DRIVER: "process" }), { state: "wrong" });
});
