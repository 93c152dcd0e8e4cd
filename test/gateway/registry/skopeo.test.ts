import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { imageFolder } from "./image-folder.ts";
import { run } from "./run.ts";
import { openStand } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";

const KEY = `any:${DEV_KEY}`;

t.test("skopeo copies, inspects, lists and deletes as at any registry", async (t) => {
  const stand = await openStand(t, await openDistribution(t));
  const image = `docker://${stand.host}/datagrok/skopeo-test:1`;
  const from = imageFolder(t, Buffer.alloc(3_000_000, "layer"));
  const policy = ["--insecure-policy", "--tmpdir", tempFolder(t)];
  const insecure = (which = "") => `--${which}tls-verify=false`;

  t.not((await run("skopeo", [...policy, "copy", insecure("dest-"), "--dest-creds", "any:wrong", `dir:${from}`, image])).code, 0);
  t.match(await run("skopeo", [...policy, "copy", "--preserve-digests", insecure("dest-"), "--dest-creds", KEY, `dir:${from}`, image]), { code: 0 });
  t.same(stand.pushed, [{ repository: "datagrok/skopeo-test", reference: "1", by: "ada" }]);
  t.match(await run("skopeo", [...policy, "inspect", insecure(), image]), { code: 0, output: /"RepoTags": \[\s*"1"/ });
  t.match(await run("skopeo", [...policy, "list-tags", insecure(), image.replace(/:1$/, "")]), { code: 0, output: /"1"/ });

  const second = `docker://${stand.host}/datagrok/skopeo-other:2`;
  const both = ["--src-creds", KEY, "--dest-creds", KEY, insecure("src-"), insecure("dest-")];
  t.match(await run("skopeo", [...policy, "copy", ...both, image, second]), { code: 0 });
  const to = join(tempFolder(t), "out");
  mkdirSync(to);
  t.match(await run("skopeo", [...policy, "copy", insecure("src-"), second, `dir:${to}`]), { code: 0 });
  t.equal(readFileSync(join(to, "manifest.json"), "utf8"), readFileSync(join(from, "manifest.json"), "utf8"));

  t.not((await run("skopeo", [...policy, "delete", insecure(), image])).code, 0, "deleting takes a key");
  t.match(await run("skopeo", [...policy, "delete", insecure(), "--creds", KEY, image]), { code: 0 });
  t.not((await run("skopeo", [...policy, "inspect", insecure(), image])).code, 0);
});
