import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openDistribution } from "./distribution.ts";
import { build, docker } from "./docker-client.ts";
import { openStand, type RegistryFixture } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";

const login = ({ host }: RegistryFixture, key = DEV_KEY): [words: string[], input: string] => [["login", host, "-u", "any", "--password-stdin"], key];

t.test("docker signs in, pushes, pulls, looks and signs out as at any registry", async (t) => {
  const stand = await openStand(t, await openDistribution(t));
  const { call, config } = docker(t);
  const image = `${stand.host}/datagrok/docker-test:1`;
  await build(t, call, image);

  const wrong = await call(...login(stand, "wrong"));
  t.not(wrong.code, 0);
  t.match(wrong.output, /developer key/);
  const anonymous = await call(["push", image]);
  t.not(anonymous.code, 0, "a push takes a key");

  t.match(await call(...login(stand)), { code: 0, output: /Login Succeeded/ });
  t.match(readFileSync(join(config, "config.json"), "utf8"), stand.host);
  t.match(await call(["push", image]), { code: 0, output: /1: digest: sha256:/ });
  t.same(stand.pushed, [{ repository: "datagrok/docker-test", reference: "1", by: "ada" }]);
  t.match(await call(["manifest", "inspect", "--insecure", image]), { code: 0, output: /"schemaVersion": 2/ });

  t.match(await call(["logout", stand.host]), { code: 0 });
  await call(["image", "rm", "-f", image]);
  t.match(await call(["pull", image]), { code: 0 }, "a pull takes none");
  t.match(await call(["image", "inspect", image]), { code: 0, output: /8080\/tcp/ });
});

t.test("a layer that is in another repository is mounted, not sent", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry);
  const { call } = docker(t);
  await call(...login(stand));
  const [one, other] = [`${stand.host}/datagrok/mount-one:1`, `${stand.host}/datagrok/mount-other:1`];
  await build(t, call, one);
  t.match(await call(["push", one]), { code: 0 });
  await call(["tag", one, other]);
  t.teardown(() => call(["image", "rm", "-f", other]));
  t.match(await call(["push", other]), { code: 0, output: /Mounted from datagrok\/mount-one/ });
});
