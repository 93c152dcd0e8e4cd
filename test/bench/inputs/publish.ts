import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../lib/clock.ts";
import { MAX_TEXT_BYTES } from "../../../control/packages/publish/definitions.ts";
import { openPublisher } from "../../../control/packages/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../../../control/packages/publish/unpack-zip.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { makeZip } from "../../control/packages/publish/fixtures/make-zip.ts";
import type { InputCase } from "./input-case.ts";

const AUTHOR = { id: "11111111-1111-4111-8111-111111111111", login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 };
/** As many folders as a package may have. */
const FOLDERS = 500;
const LIFECYCLE = { requestValidation: () => undefined, definitionChanged: () => undefined, remove: () => undefined };

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

/** Publishes the packages one after the other into a new store in a temporary folder; the last publish is measured. */
function publishCase(name: string, packages: readonly (() => Record<string, string>)[]): InputCase {
  let zips: Promise<Buffer[]> | undefined;
  const made = () => (zips ??= Promise.all(packages.map((files) => makeZip({ "package.json": '{"name":"demo","version":"1.0.0"}', ...files() }))));
  return {
    name: `publish: ${name}`,
    slow: true,
    prepare: async () => void (await made()),
    run: async () => {
      const folder = mkdtempSync(join(tmpdir(), "berth-bench-publish-"));
      const clock = systemClock();
      const store = openStore({ folder, clock });
      try {
        store.users.insert(AUTHOR);
        const publisher = await openPublisher({
          store,
          lifecycle: LIFECYCLE,
          credentials: { record: () => [] },
          dataFolder: folder,
          environment: "bench",
          clock,
          maxPackageBytes: 100_000_000,
          limits: ZIP_LIMITS,
        });
        for (const zip of await made()) {
          const body = (async function* () {
            yield zip;
          })();
          await publisher.publish({ name: "demo", user: AUTHOR, debug: false, body, signal: new AbortController().signal });
        }
      } finally {
        store.close();
        rmSync(folder, { recursive: true });
      }
    },
  };
}

export const cases: InputCase[] = [
  publishCase("500 new folders", [() => folders("app", () => build(80))]),
  publishCase("500 folders that changed", [() => folders("app", () => build(80)), () => folders("app", () => build(81))]),
  publishCase("500 folders in place of 500 others", [() => folders("old", () => build(80)), () => folders("new", () => build(80))]),
];
