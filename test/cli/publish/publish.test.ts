import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { freePort } from "../../fixtures/server.ts";
import { typeBerth } from "../fixtures/type-berth.ts";

function writeAll(folder: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

type Report = { images: { image: string; how: string; status: string }[]; containers: { id: string }[] };

t.test("a package is built, pushed and published by one command, and woken by a request; what has not changed is not built again", async (t) => {
  const port = await freePort();
  const { docker, host } = openEngine();
  const { onDemand } = await buildTestImages(docker, ["onDemand"]);
  const data = tempFolder(t);
  const home = tempFolder(t);
  const berth = await startBerth({ data, env: { BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: String(port) } });
  t.teardown(() => berth.stop());
  writeAll(home, {
    ".docker/config.json": "{}",
    ".grok/config.yaml": `servers:\n  mine:\n    url: ${berth.api}\n    key: ${ADMIN_KEY}\n    registry: 127.0.0.1:${port}\n`,
  });
  const env = { PATH: process.env["PATH"], HOME: home, DOCKER_HOST: host, BERTH_DATA: join(data, "nothing-here") };
  const folder = writeAll(tempFolder(t), {
    "package.json": JSON.stringify({ name: "@scope/typed", version: "1.2.3" }),
    "dockerfiles/app/Dockerfile": `FROM ${onDemand}\nENV TYPED=1\n`,
    "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, port: 15353 }),
    "node_modules/left/out.js": "",
  });
  const publish = async (...args: string[]) => {
    const { code, stdout, stderr } = await typeBerth(["publish", folder, "--server", "mine", "--json", ...args], { env });
    t.equal(code, 0, stderr);
    return JSON.parse(stdout) as Report;
  };
  const { images, containers } = await publish("--release");
  const [image] = images;
  t.match(image, { image: /^datagrok\/typed-app:1\.2\.3\.[0-9a-f]{8}$/, how: "built", status: "ready" });
  const remote = `127.0.0.1:${port}/${image?.image}`;
  const remove = (...refs: string[]) => execFileSync("docker", ["image", "rm", "-f", ...refs], { env, stdio: "ignore" });
  // What runs has to come from the registry: an engine's own image is found first.
  remove(remote, image?.image.replace("datagrok/", "") ?? "");
  t.match(await typeBerth(["revalidate", "typed", "--server", "mine"], { env }), { code: 0, stdout: /^typed-app is ready/ });
  const entity = await berth.container("typed-app");
  t.equal(containers[0]?.id, entity.id);
  t.teardown(() => {
    execFileSync("docker", ["rm", "-f", entity.serviceName], { env, stdio: "ignore" });
    remove(remote);
  });
  const answer = await berth.call(`/docker/containers/proxy/${entity.id}/`);
  t.ok(answer.status < 500, await answer.text());
  t.equal((await berth.container("typed-app")).status, "started");

  t.match((await publish("--release")).images, [{ image: image?.image, how: "unchanged", status: "ready" }]);
  t.match((await publish()).images, [{ image: image?.image, how: "unchanged" }], "a debug publish takes it too");
  const { stderr } = await typeBerth(["publish", folder, "--server", "mine"], { env });
  t.match(stderr, /has not changed\.\nNote: .*For a new base image, add --rebuild\.\n/);
  t.equal(readFileSync(join(home, ".docker/config.json"), "utf8"), "{}", "who else one is signed in to stays");

  const unread = writeAll(tempFolder(t), {
    "package.json": JSON.stringify({ name: "unread", version: "1.0.0" }),
    "dockerfiles/app/Dockerfile": `FROM ${onDemand}\n`,
  });
  const script = 'exec 3>&1; { "$@" 2>&1; echo "exit $?" >&3; } | true';
  const readerLess = [process.execPath, join(import.meta.dirname, "../../../berth.ts"), "publish", unread, "--server", "mine", "--release"];
  t.equal(execFileSync("sh", ["-c", script, "sh", ...readerLess], { env, encoding: "utf8" }), "exit 0\n");
  t.match(await berth.container("unread-app"), { name: "unread-app" }, "a publish goes on to its end without a reader");

  const registry = async (...args: string[]) => {
    const { code, stdout, stderr } = await typeBerth(["registry", ...args, "--server", "mine", "--json"], { env });
    t.equal(code, 0, stderr);
    return JSON.parse(stdout) as unknown;
  };
  const tag = image?.image.split(":")[1];
  t.same(await registry("ls"), ["datagrok/typed-app", "datagrok/unread-app"]);
  t.match(await registry("tags", "datagrok/typed-app"), [{ tag, digest: /^sha256:/, platforms: [/^linux\//] }]);
  t.match(await registry("inspect", `datagrok/typed-app:${tag}`), { ports: ["15353/tcp"], variables: [/./, "DEFAULT_PORT", "TYPED"] });
  t.match(await registry("rm", `datagrok/typed-app:${tag}`), { removed: false, tags: [tag] });
  t.match(await registry("rm", `datagrok/typed-app:${tag}`, "--yes"), { removed: true });
  t.same(await registry("tags", "datagrok/typed-app"), []);
  t.match(await typeBerth(["registry", "tags", "datagrok/typed-ap", "--server", "mine"], { env }), {
    code: 3,
    stderr: /did you mean datagrok\/typed-app/,
  });

  writeAll(folder, { "dockerfiles/app/Dockerfile": `FROM ${onDemand}\nRUN no-such-program\n` });
  t.match(await typeBerth(["publish", folder, "--server", "mine"], { env }), { code: 1, stderr: /cannot be built/ });
  t.match(await typeBerth(["publish", folder, "--server", "mine"], { env: { ...env, PATH: "/nowhere" } }), { code: 5, stderr: /no docker command/ });
  const wrong = { ...env, BERTH_KEY: "another-key" };
  t.match(await typeBerth(["publish", folder, "--server", berth.base, "--key", "another-key"], { env: wrong }), { code: 4 });
});

t.test("a folder that is no package with containers is refused before the first request", async (t) => {
  const env = { PATH: "/nowhere", HOME: "/nowhere", BERTH_SERVER: "http://127.0.0.1:1", BERTH_KEY: "some-key-of-mine" };
  const json = { "package.json": JSON.stringify({ name: "typed", version: "1.0.0" }) };
  const rows: [files: Record<string, string>, code: number, expected: RegExp][] = [
    [{}, 2, /no package\.json/],
    [{ "package.json": "{" }, 1, /not JSON/],
    [json, 1, /makes no container/],
    [{ ...json, "dockerfiles/app/container.json": '{"cpu": "many"}', "dockerfiles/app/Dockerfile": "FROM scratch" }, 1, /cpu is "many"/],
    [{ ...json, "dockerfiles/app/Dockerfile": "FROM scratch" }, 5, /127\.0\.0\.1:1/],
  ];
  for (const [files, code, expected] of rows)
    t.match(await typeBerth(["publish", writeAll(tempFolder(t), files)], { env }), { code, stderr: expected });
  t.match(await typeBerth(["publish", "--debug", "--release"], { env }), { code: 2 });
});
