import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openUpstream } from "../../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { imageFolder } from "./image-folder.ts";
import { run } from "./run.ts";
import { openStand } from "./stand.ts";
import { DEV_KEY } from "./token-server.ts";
import { htpasswd, LOGIN, openDistribution } from "./upstream/distribution.ts";
import { openTokenServer } from "./upstream/token-server.ts";

/** A registry behind that wants to know who asks, as skopeo sees it through the proxy, which alone is known there. */
async function shows(t: Test, auth: (folder: string) => string): Promise<void> {
  const registry = await openDistribution(t, auth);
  const settings = { url: `http://${registry.host}`, ...LOGIN, ecrMode: false, awsRegion: undefined };
  const log = openLog({ level: "silent", name: "test" });
  const upstream = await openUpstream(settings, { clock: systemClock(), log, signal: new AbortController().signal });
  t.teardown(() => upstream.close());
  const stand = await openStand(t, { port: 0 }, { upstream });
  const image = `docker://${stand.host}/datagrok/behind:1`;
  const skopeo = (...args: string[]) => run("skopeo", ["--insecure-policy", "--tmpdir", tempFolder(t), ...args]);
  const from = imageFolder(t, Buffer.alloc(100_000, "layer"));
  t.match(await skopeo("copy", "--dest-tls-verify=false", "--dest-creds", `any:${DEV_KEY}`, `dir:${from}`, image), { code: 0 });
  t.match(await skopeo("inspect", "--tls-verify=false", image), { code: 0, output: /"RepoTags"/ });
  t.match(await skopeo("delete", "--tls-verify=false", "--creds", `any:${DEV_KEY}`, image), { code: 0 });
}

t.test("in front of a registry with a name and a password", (t) => shows(t, htpasswd));

t.test("in front of a registry that takes tokens of its own", async (t) => {
  const tokens = await openTokenServer(t, LOGIN);
  await shows(t, tokens.auth);
});

t.test("a token that ran out behind is renewed, and the client notices nothing", async (t) => {
  const clock = createStillClock();
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await openDistribution(t, tokens.auth);
  const log = openLog({ level: "silent", name: "test" });
  const settings = { url: `http://${registry.host}`, ...LOGIN, ecrMode: false, awsRegion: undefined };
  const upstream = await openUpstream(settings, { clock, log, signal: new AbortController().signal });
  t.teardown(() => upstream.close());
  const { call } = await openStand(t, { port: 0 }, { upstream });
  const begin = () => call("/v2/datagrok/a/blobs/uploads/", { method: "POST", scopes: ["repository:datagrok/a:pull,push"] });
  // What its server calls good for five minutes has ended for the registry.
  tokens.shape.lifeSeconds = -100;
  t.equal((await begin()).status, 403);
  await clock.advance(10_000);
  tokens.shape.lifeSeconds = 300;
  const before = tokens.requests.length;
  t.equal((await begin()).status, 202);
  t.equal((await begin()).status, 202);
  t.equal(tokens.requests.length - before, 1);
});

t.test("however many names are made up, the file of tokens has those that were of use", async (t) => {
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await openDistribution(t, tokens.auth);
  const tokenFile = join(tempFolder(t), "registry-token");
  const settings = { url: `http://${registry.host}`, ...LOGIN, ecrMode: false, awsRegion: undefined, tokenFile };
  const log = openLog({ level: "silent", name: "test" });
  const upstream = await openUpstream(settings, { clock: systemClock(), log, signal: new AbortController().signal });
  const { call } = await openStand(t, { port: 0 }, { upstream });
  const begun = await call("/v2/datagrok/a/blobs/uploads/", { method: "POST", scopes: ["repository:datagrok/a:pull,push"] });
  t.equal(begun.status, 202);
  const names = Array.from({ length: 120 }, (_, n) => `made-up/${n}`);
  const statuses = await Promise.all(names.map(async (name) => (await call(`/v2/${name}/manifests/1`)).status));
  t.same([...new Set(statuses)], [404]);
  await upstream.close();
  t.match(readFileSync(tokenFile, "utf8"), /^repository:datagrok\/a:pull,push \d+ Bearer \S+\n$/);
});
