import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { openPodman } from "./podman.ts";
import { openStand } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";

t.test("podman signs in with a developer key, pushes, and pulls what it pushed", async (t) => {
  const stand = await openStand(t, await openDistribution(t));
  const podman = openPodman(t);
  const insecure = "--tls-verify=false";
  const image = `${stand.host}/datagrok/podman-test:1`;
  const folder = tempFolder(t);
  writeFileSync(join(folder, "file"), "a layer");
  const layer = join(folder, "layer.tar");
  execFileSync("tar", ["-cf", layer, "-C", folder, "file"]);
  t.match(await podman("import", layer, image), { code: 0 });

  t.not((await podman("push", insecure, image)).code, 0, "a push takes a key");
  t.not((await podman("login", insecure, "-u", "any", "-p", "wrong", stand.host)).code, 0);
  t.match(await podman("login", insecure, "-u", "any", "-p", DEV_KEY, stand.host), { code: 0, output: /Login Succeeded/ });
  t.match(await podman("push", insecure, image), { code: 0 });
  t.same(stand.pushed, [{ repository: "datagrok/podman-test", reference: "1", by: "ada" }]);

  t.match(await podman("rmi", image), { code: 0 });
  t.match(await podman("pull", insecure, image), { code: 0 });
  t.match(await podman("image", "inspect", image), { code: 0, output: /"datagrok\/podman-test|podman-test:1"/ });
  t.match(await podman("search", insecure, "--list-tags", image.replace(/:1$/, "")), { code: 0, output: /\b1\b/ });
});
