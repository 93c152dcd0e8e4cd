import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../../fixtures/berth.ts";
import { openEngine } from "../../../fixtures/engine.ts";
import { freePort } from "../../../fixtures/server.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { run } from "../run.ts";
import { openHub } from "./hub.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../../../docs/registry-cache.md"), "utf8");
const examples = (language: string) => [...PAGE.matchAll(/```(\w+)\n(.*?)```/gs)].flatMap(([, of, text = ""]) => (of === language ? [text] : []));

t.test("the page's commands pull an image of Docker Hub through the cache, and its mirror works for podman's clients", async (t) => {
  const hub = await openHub(t, "s3cr3t");
  await hub.push("library/nginx", "1.27", Buffer.alloc(1_024 * 10));
  const port = await freePort();
  const data = tempFolder(t);
  const registry = `127.0.0.1:${port}`;
  const [settings = "", pull = ""] = examples("sh");
  const env = Object.fromEntries([...settings.matchAll(/(BERTH_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));
  t.same(env, { BERTH_REGISTRY: "embedded", BERTH_REGISTRY_CACHE: "docker.io" });
  const logins = join(data, "config.json");
  writeFileSync(logins, JSON.stringify({ auths: { "https://index.docker.io/v1/": { auth: Buffer.from("me:s3cr3t").toString("base64") } } }));
  const berth = await startBerth({
    data,
    env: {
      ...env,
      BERTH_DRIVER: "process",
      BERTH_REGISTRY_CACHE: `docker.io=http://${hub.host}`,
      BERTH_REGISTRY_CACHE_LOGINS: logins,
      // Each pull checks the tag.
      BERTH_REGISTRY_CACHE_FRESH_SECONDS: "0",
      BERTH_REGISTRY_PORT: String(port),
    },
  });
  t.teardown(() => berth.stop());
  const config = tempFolder(t);
  writeFileSync(join(config, "key"), ADMIN_KEY);
  const commands = pull.replaceAll("registry.example:5000", registry).replace("< key", `< ${join(config, "key")}`);
  const dockerEnv = { DOCKER_CONFIG: config, DOCKER_HOST: openEngine().host };
  const image = `${registry}/docker.io/library/nginx:1.27`;
  t.not((await run("docker", ["pull", image], { env: dockerEnv })).code, 0, "not without a key");
  const pulled = await run("sh", ["-ec", commands], { env: dockerEnv });
  t.teardown(() => run("docker", ["image", "rm", "-f", image], { env: dockerEnv }));
  t.equal(pulled.code, 0, pulled.output);
  t.same([...new Set(hub.logins)], ["me"]);

  hub.isAway = true;
  await run("docker", ["image", "rm", "-f", image], { env: dockerEnv });
  t.match(await run("docker", ["pull", image], { env: dockerEnv }), { code: 0 }, "while the registry is away");
  const [mirror = ""] = examples("toml");
  const registries = join(config, "registries.conf");
  writeFileSync(registries, `${mirror.replaceAll("registry.example:5000", registry)}insecure = true\n`);
  const out = join(config, "out");
  const auth = join(config, "auth.json");
  writeFileSync(auth, JSON.stringify({ auths: { [registry]: { auth: Buffer.from(`any:${ADMIN_KEY}`).toString("base64") } } }));
  const copied = await run(
    "skopeo",
    ["--insecure-policy", "--registries-conf", registries, "copy", "--src-authfile", auth, "docker://docker.io/library/nginx:1.27", `dir:${out}`],
    { env: { TMPDIR: config } },
  );
  t.equal(copied.code, 0, copied.output);
  t.match(berth.output(), /registry cache serves a tag that it cannot check/);
  t.notMatch(berth.output(), /s3cr3t/);
});
