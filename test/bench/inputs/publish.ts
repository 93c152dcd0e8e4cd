import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { openCredentials } from "../../../control/packages/credentials/open-credentials.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { MAX_TEXT_BYTES } from "../../../control/packages/publish/definitions.ts";
import { openPublisher } from "../../../control/packages/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../../../control/packages/publish/receive-upload.ts";
import { importedPackageName } from "../../../control/packages/publish/record-package.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { makeZip } from "../../control/packages/publish/fixtures/make-zip.ts";
import type { InputCase } from "./input-case.ts";

const AUTHOR = { id: "11111111-1111-4111-8111-111111111111", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 };
/** As many folders as a package may have. */
const FOLDERS = 500;
/** With one credential each, as many as it may have. */
const CONNECTIONS = 250;
/** As many as a folder may have. */
const VARIABLES = 500;

const folders = (prefix: string, files: (index: number) => Record<string, string>) =>
  Object.fromEntries(
    Array.from({ length: FOLDERS }, (_, index) =>
      Object.entries(files(index)).map(([file, text]) => [`dockerfiles/${prefix}${index}/${file}`, text] as const),
    ).flat(),
  );
/** All together are nearly as long as they may be. */
const build = (port: number) => ({
  Dockerfile: `FROM a\nEXPOSE ${port}\n`.padEnd((MAX_TEXT_BYTES / FOLDERS) * 0.98, "# long\n"),
  "container.json": '{"env":{"MODE":"fast"}}',
});

/** All variables of all folders together are nearly as long as they may be, and as many as a folder may have. */
const variables = (value: string) => ({
  "container.json": JSON.stringify({
    image: "a",
    env: Object.fromEntries(Array.from({ length: VARIABLES }, (_, index) => [`V${index}`, value])),
  }),
});
/** As many rows and as much text as are allowed, most of it in many short keys. */
const connections = (value: string) =>
  Object.fromEntries(
    Array.from({ length: CONNECTIONS }, (_, index) => {
      const parameters = { login: value };
      const keys = Array.from({ length: 850 }, (_, key) => [`k${key}`, 0]);
      return [`connections/c${index}.json`, JSON.stringify({ credentials: { parameters }, ...Object.fromEntries(keys) })];
    }),
  );

type Files = () => Record<string, string>;
type Running = {
  publish(zip: Buffer): Promise<void>;
  /** What was published counts as imported. */
  makeImported(): void;
  close(): void;
};

async function openBench(): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-publish-"));
  const clock = systemClock();
  const store = await openStore({ folder, clock });
  await store.users.insert(AUTHOR);
  const vault = await openVault({ store, keyFile: openKeyFile(folder), given: [], log: openLog({ level: "silent", name: "bench" }) });
  const publisher = await openPublisher({
    store,
    // Each is a write, as in earnest: the first also copies the log into the database.
    lifecycle: {
      requestValidation: async (id) => void (await store.images.update(id, { updatedOn: 2 })),
      definitionChanged: async (id) => void (await store.containers.update(id, { updatedOn: 2 })),
      remove: async (id) => void (await store.containers.remove(id, 2)),
    },
    credentials: openCredentials({ store, vault, clock }),
    dataFolder: folder,
    environment: "bench",
    clock,
    maxPackageBytes: 100_000_000,
    limits: ZIP_LIMITS,
  });
  return {
    publish: async (zip) => {
      const body = (async function* () {
        yield zip;
      })();
      await publisher.publish({
        name: "demo",
        user: AUTHOR,
        authorize: async () => AUTHOR,
        debug: false,
        body,
        signal: new AbortController().signal,
      });
    },
    makeImported: () => {
      const database = new Sqlite(join(folder, "berth.db"));
      database.prepare("UPDATE packages SET name = ?").run(importedPackageName(AUTHOR.login));
      database.close();
    },
    close: async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Publishes the packages one after the other into a new store in a temporary folder; the last publish is measured. */
function publishCase(name: string, ...packages: Files[]): InputCase {
  return publishCaseAfter(name, () => undefined, packages);
}

function publishCaseAfter(name: string, prepare: (running: Running) => void, packages: readonly Files[]): InputCase {
  let zips: Buffer[] = [];
  let running: Running | undefined;
  return {
    name: `publish: ${name}`,
    slow: true,
    prepare: async () => {
      zips = await Promise.all(packages.map((files) => makeZip({ "package.json": '{"name":"demo","version":"1.0.0"}', ...files() })));
    },
    before: async () => {
      running = await openBench();
      for (const zip of zips.slice(0, -1)) await running.publish(zip);
      prepare(running);
    },
    run: async () => running?.publish(zips.at(-1) as Buffer),
    after: () => running?.close(),
  };
}

const app = (port: number) => () => folders("app", () => build(port));
const withConnections = (value: string) => () => ({ ...folders("app", () => ({ "container.json": '{"image":"a"}' })), ...connections(value) });

const FOREIGN_TEMPLATES = Array.from({ length: 300 }, (_, index) => `#{x.P${index}:A}`).join("");

export const cases: InputCase[] = [
  publishCase("500 new folders", app(80)),
  publishCase("500 folders that changed", app(80), app(81)),
  publishCaseAfter("500 folders whose images were imported", (running) => running.makeImported(), [app(80), app(81)]),
  publishCase(
    "500 folders in place of 500 others",
    () => folders("old", () => build(80)),
    () => folders("new", () => build(80)),
  ),
  publishCase(
    "250,000 variables",
    () => folders("app", () => variables("1")),
    () => folders("app", () => variables("2")),
  ),
  publishCase("templates without a connection", () =>
    folders("app", () => ({ "container.json": `{"image":"a","env":{"A":"${"#{x.A}".repeat(680)}"}}` })),
  ),
  publishCase("templates that each name another package", () =>
    folders("app", () => ({ "container.json": JSON.stringify({ image: "a", env: { A: FOREIGN_TEMPLATES } }) })),
  ),
  publishCase("500 folders and 250 connections with credentials", withConnections("a"), withConnections("b")),
];
