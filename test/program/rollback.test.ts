import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { storeKinds } from "../fixtures/store-kinds.ts";
import { openStand } from "./rights/fixtures/stand.ts";

type Version = {
  number: number;
  version: string;
  by: string | null;
  restores: number | null;
  replacedOn: string | null;
  containers: number;
  good: boolean | null;
};

/** A package whose container answers with its text and one of its variables, or does not start. */
function packageOf(version: string, text: string, { env = {}, folders = ["web"], exposes = true } = {}): Record<string, string> {
  const server = `require("http").createServer((_, response) => response.end(${JSON.stringify(text)} + " " + process.env.MODE)).listen(process.env.PORT);`;
  return {
    "package.json": JSON.stringify({ name: "Rolled", version }),
    ...Object.fromEntries(
      folders.flatMap((folder) => [
        [`dockerfiles/${folder}/Dockerfile`, `FROM node\n${exposes ? "EXPOSE 8080\n" : ""}CMD ["node", "server.cjs"]\n`],
        [`dockerfiles/${folder}/server.cjs`, server],
        [`dockerfiles/${folder}/container.json`, JSON.stringify({ on_demand: true, env })],
      ]),
    ),
  };
}

for (const kind of storeKinds(t)) {
  t.test(`a package returns to its last good version, on ${kind.name}`, async (t) => {
    const { postgres } = await kind.fresh();
    const stand = await openStand(t, {
      BERTH_KEEP_VERSIONS: "3",
      ...(postgres === undefined ? {} : { BERTH_DATABASE_URL: postgres.url, BERTH_CREDENTIALS_KEY: Buffer.alloc(32, 1).toString("base64") }),
    });
    const { berth, addPerson, data } = stand;
    const anna = await addPerson("anna");
    const max = await addPerson("max");
    const type = (key: string, ...args: string[]) => typeBerth([...args, "--key", key], { env: stand.env });
    const publish = async (files: Record<string, string>, ready = ["web"]) => {
      const published = await stand.publish("Rolled", files, { authorization: `Dev ${anna.key}` });
      t.equal(published.status, 200);
      for (const folder of ready) await stand.ready(`rolled-${folder}`);
    };
    const answer = async () => {
      const { id } = await berth.container("rolled-web");
      return (await berth.call(`/docker/containers/proxy/${id}/`)).text();
    };
    const answers = (text: string) => eventually(`it answers ${text}`, async () => (await answer()) === text || undefined);
    const versions = async () => (JSON.parse((await type(anna.key, "history", "Rolled", "--json")).stdout) as { versions: Version[] }).versions;

    await publish(packageOf("1.0.0", "one", { env: { MODE: "fast" } }));
    const { id } = await berth.container("rolled-web");
    await answers("one fast");
    t.match(await type(anna.key, "rollback", "Rolled"), { code: 1, stderr: /has no earlier version that was good. No earlier version is stored/ });
    await publish(packageOf("1.1.0", "two", { env: { MODE: "slow" }, folders: ["web", "extra"] }), ["web", "extra"]);
    await answers("two slow");
    await stand.ready("rolled-extra");

    await t.test("with its files, variables and folders, under the same ids", async (t) => {
      t.match(await type(anna.key, "rollback", "Rolled"), { code: 0, stdout: "Rolled is version 1 (1.0.0) again.\n" });
      await answers("one fast");
      t.equal((await berth.container("rolled-web")).id, id);
      t.equal((await type(anna.key, "ps", "-o", "name")).stdout, "rolled-web\n");
      t.match(await versions(), [
        { number: 3, version: "1.0.0", by: "anna", restores: 1, replacedOn: null, containers: 1, good: null },
        { number: 2, version: "1.1.0", by: "anna", restores: null, containers: 2, good: true },
        { number: 1, version: "1.0.0", by: "anna", restores: null, containers: 1, good: true },
      ]);
      t.match(await type(anna.key, "history", "Rolled"), {
        code: 0,
        stdout: /^NUMBER.*\n3 +1\.0\.0 .* ago +anna +1 +current, the same as 1\n2 +1\.1\.0 .* good\n/,
      });
    });

    await t.test("or to any that is stored", async (t) => {
      t.match(await type(anna.key, "rollback", "Rolled", "--to", "2"), { code: 0, stdout: /is version 2/ });
      await answers("two slow");
      await stand.ready("rolled-extra");
      t.match(await type(anna.key, "rollback", "Rolled", "--to", "9"), { code: 1, stderr: /has no version 9.*Stored earlier versions: 3, 2, 1\./ });
      t.match(await type(anna.key, "rollback", "Rolled", "--to", "one"), { code: 2, stderr: /berth history Rolled/ });
      t.match(await type(anna.key, "history", "nothing"), { code: 3 });
    });

    await t.test("not to one that failed", async (t) => {
      await publish({ ...packageOf("1.2.0", "three"), "dockerfiles/web/server.cjs": "process.exit(7);" });
      t.match(await type(anna.key, "run", "rolled-web"), { code: 1 });
      await publish({ ...packageOf("1.2.1", "four"), "dockerfiles/web/server.cjs": "process.exit(8);" });
      t.match(await type(anna.key, "run", "rolled-web"), { code: 1 });
      t.match(await type(anna.key, "rollback", "Rolled"), { code: 0, stdout: "Rolled is version 4 (1.1.0) again.\n" });
      await answers("two slow");
      await stand.ready("rolled-extra");
      t.match(
        (await versions()).map(({ number, good }) => [number, good]),
        [
          [7, null],
          [6, false],
          [5, false],
          [4, true],
        ],
      );
    });

    await t.test("which only its author may", async (t) => {
      for (const args of [
        ["rollback", "Rolled"],
        ["history", "Rolled"],
        ["unpublish", "Rolled", "--yes"],
      ])
        t.match(await type(max.key, ...args), { code: 4, stdout: "" }, args.join(" "));
    });

    await t.test("also after all of it was unpublished", async (t) => {
      t.match(await type(anna.key, "unpublish", "Rolled"), {
        code: 0,
        stdout: "rolled-extra\nrolled-web\nNothing was removed. Add --yes to remove them.\n",
      });
      t.match(await type(anna.key, "unpublish", "Rolled", "--yes"), { code: 0, stdout: /^Removed all containers of Rolled:/ });
      await eventually("its containers are gone", async () => (await type(anna.key, "ps", "-q")).stdout === "" || undefined);
      t.match(await type(anna.key, "history", "Rolled"), { code: 0, stdout: /\n8 .*current, unpublished\n/ });
      t.match(await type(anna.key, "rollback", "Rolled"), { code: 0, stdout: /is version 7 / });
      await answers("two slow");
      await stand.ready("rolled-extra");
      t.equal((await berth.container("rolled-web")).id, id);
    });

    await t.test("and no more files are kept than versions need", async (t) => {
      // What runs keeps its files for as long as it does.
      t.match(await type(anna.key, "stop", "rolled-web"), { code: 0 });
      for (const text of ["a", "b", "c", "d", "e"]) await publish(packageOf("2.0.0", text));
      const [owner = ""] = readdirSync(join(data, "berth-data/packages"));
      const folders = readdirSync(join(data, "berth-data/packages", owner));
      const count = folders.flatMap((folder) => readdirSync(join(data, "berth-data/packages", owner, folder))).length;
      t.equal((await versions()).length, 4);
      t.ok(count <= 5, `${count} folders of files`);
    });
  });
}
