import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import t from "tap";
import { defineContainers, readPackageJson } from "../../../control/packages/publish/definitions.ts";
import { findFolders } from "../../../control/packages/publish/folders.ts";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { freePort } from "../../fixtures/server.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openStand } from "../../program/rights/fixtures/stand.ts";
import { typeBerth } from "../fixtures/type-berth.ts";

const env = { PATH: process.env["PATH"] ?? "", HOME: "/nowhere" };

function filesOf(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path));
  return Object.fromEntries(paths.filter((path) => statSync(path).isFile()).map((path) => [relative(folder, path), readFileSync(path, "utf8")]));
}

t.test("the package of Node is published as it is written, and its container answers", async (t) => {
  const stand = await openStand(t);
  const folder = join(tempFolder(t), "First Package");
  t.match(await typeBerth(["init", folder], { env }), { code: 0, stdout: /berth publish .*\n {2}berth run first-package-api/ });
  const published = await stand.publish("first-package", filesOf(folder), { authorization: `Dev ${stand.berth.key}` });
  t.equal(published.status, 200);
  t.same(((await published.json()) as { warnings: string[] }).warnings, []);
  const id = await stand.ready("first-package-api");
  const answer = await stand.berth.call(`/docker/containers/proxy/${id}/square?number=4`);
  t.same(await answer.json(), { result: 16 });
});

t.test("to a berth that runs plain processes, the package is published without Docker", async (t) => {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => berth.stop());
  const folder = join(tempFolder(t), "undocked");
  const local = { PATH: "/nowhere", HOME: "/nowhere", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY };
  t.match(await typeBerth(["init", folder], { env: local }), { code: 0 });
  t.match(await typeBerth(["publish", folder], { env: local }), { code: 0, stderr: /no image is built/, stdout: /^Published undocked 0\.1\.0/ });
  const { id } = await berth.container("undocked-api");
  const answer = await berth.call(`/docker/containers/proxy/${id}/square?number=5`);
  t.same(await answer.json(), { result: 25 });
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
});

t.test("every template is a package without warnings", async (t) => {
  for (const template of ["node", "python", "go"]) {
    const folder = join(tempFolder(t), template);
    t.match(await typeBerth(["init", folder, "--template", template, "--name", "mine"], { env }), { code: 0 }, template);
    const { folders, warnings } = await findFolders(folder, new AbortController().signal);
    const defined = defineContainers(readPackageJson(readFileSync(join(folder, "package.json"), "utf8")), folders, undefined);
    t.match(defined.definitions, [{ name: "mine-api", container: { config: { onDemand: true } } }]);
    t.same([...warnings, ...defined.warnings], [], template);
  }
});

t.test("the server of Python answers", async (t) => {
  const folder = join(tempFolder(t), "python");
  await typeBerth(["init", folder, "--template", "python"], { env });
  const port = await freePort();
  const child = spawn("/usr/bin/python3", ["-u", join(folder, "dockerfiles/api/server.py")], {
    env: { ...env, PORT: String(port) },
    stdio: "ignore",
  });
  t.teardown(() => void child.kill("SIGKILL"));
  const answer = await eventually("the server to answer", async () =>
    fetch(`http://127.0.0.1:${port}/square?number=4`).then(
      (response) => response.json(),
      () => undefined,
    ),
  );
  t.same(answer, { result: 16 });
});

t.test("what is there is never written over", async (t) => {
  const folder = join(tempFolder(t), "twice");
  t.match(await typeBerth(["init", folder], { env }), { code: 0 });
  t.match(await typeBerth(["init", folder], { env }), { code: 2, stderr: /package\.json exists: nothing was written/ });
  t.match(await typeBerth(["init", folder, "--template", "rust"], { env }), { code: 2, stderr: /Allowed: node, python, go/ });
  t.match(await typeBerth(["init", join(folder, "x"), "--name", "No Name"], { env }), { code: 2, stderr: /--name/ });
  // Node's own way to make a folder never ends there.
  t.match(await typeBerth(["init", "/proc/x/y"], { env }), { code: 2, stderr: /\/proc\/x\/y cannot be written/ });
});
