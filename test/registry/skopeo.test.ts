import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { run } from "./run.ts";
import { openStand } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";

const KEY = `any:${DEV_KEY}`;

/** An image as a folder in skopeo's `dir:` form, with one layer of these bytes. */
export function imageFolder(t: Test, layer: Buffer): string {
  const folder = tempFolder(t);
  const put = (mediaType: string, blob: Buffer) => {
    const hex = createHash("sha256").update(blob).digest("hex");
    writeFileSync(join(folder, hex), blob);
    return { mediaType, size: blob.length, digest: `sha256:${hex}` };
  };
  const diff = `sha256:${createHash("sha256").update(layer).digest("hex")}`;
  const config = { architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [diff] } };
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: put("application/vnd.docker.container.image.v1+json", Buffer.from(JSON.stringify(config))),
    layers: [put("application/vnd.docker.image.rootfs.diff.tar", layer)],
  };
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "version"), "Directory Transport Version: 1.1\n");
  return folder;
}

t.test("skopeo copies, inspects, lists and deletes as at any registry", async (t) => {
  const stand = await openStand(t, await openDistribution(t));
  const image = `docker://${stand.host}/datagrok/skopeo-test:1`;
  const from = imageFolder(t, Buffer.alloc(3_000_000, "layer"));
  const policy = ["--insecure-policy", "--tmpdir", tempFolder(t)];
  const insecure = (which = "") => `--${which}tls-verify=false`;

  t.not((await run("skopeo", [...policy, "copy", insecure("dest-"), "--dest-creds", "any:wrong", `dir:${from}`, image])).code, 0);
  t.match(await run("skopeo", [...policy, "copy", "--preserve-digests", insecure("dest-"), "--dest-creds", KEY, `dir:${from}`, image]), { code: 0 });
  t.same(stand.pushed, [{ repository: "datagrok/skopeo-test", reference: "1" }]);
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
