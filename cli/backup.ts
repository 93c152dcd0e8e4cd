import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Settings } from "../conf/settings.ts";
import { ADMIN_KEY_FILE } from "../control/identity/admin-key.ts";
import { KEY_FILE } from "../control/packages/credentials/key-file.ts";
import { backUp } from "../control/store/backup.ts";
import { GATEWAY_TOKEN_FILE } from "../gateway/contract.ts";
import { configuredPostgres } from "../control/store/postgres/address.ts";
import { restore } from "../control/store/restore.ts";
import { Fault } from "../lib/fault.ts";
import { registryPlace } from "../processes/distribution/registry-storage.ts";
import { loadSettings } from "./command-context.ts";
import { defineVerb, type Verbs } from "./command.ts";
import { VERSION } from "./version.ts";

export const BACKUP: Verbs = {
  "": defineVerb({
    words: "<file>",
    summary: "write the store and the published files to a new file; berth can run meanwhile",
    details:
      "Includes the keys that sign docker tokens (sealed) and the token of gateways on other machines. Does not include the credentials key, the first user's key, settings, certificates, and images of berth's own registry.",
    options: { damaged: { summary: "also back up a damaged store, to rescue the rest" } },
    completes: "files",
    run: async ({ context, words: [file = ""], options: { damaged = false }, screen }) => {
      if (file === "-") throw new Fault("BACKUP_UNUSABLE", "A backup cannot be written to standard output: name a new file, and copy that.");
      const { settings } = loadSettings(context);
      const postgres = configuredPostgres(settings.database);
      const from = { folder: settings.data, file, version: VERSION, clock: context.clock };
      const made = postgres ? await (await loadMove()).backUpPostgres({ ...from, postgres }) : backUp({ ...from, isDamaged: damaged });
      screen.print(
        `${made.file}: ${(made.bytes / 1_000_000).toFixed(1)} MB. It does not contain the credentials key, which is ${keyPlace(settings)}: keep a copy of that elsewhere.`,
      );
    },
  }),
};

function loadMove() {
  return import("../control/store/postgres/move-store.ts");
}

/** The place of the credentials key. */
function keyPlace({ data, credentialsKey, credentialsKeyFile }: Pick<Settings, "data" | "credentialsKey" | "credentialsKeyFile">): string {
  if (credentialsKeyFile !== undefined) return `in ${credentialsKeyFile}`;
  return credentialsKey.length > 0 ? "in BERTH_CREDENTIALS_KEY" : `in ${join(resolve(data), KEY_FILE)}`;
}

export const RESTORE: Verbs = {
  "": defineVerb({
    words: "<file>",
    summary: "restore the store from a file of `berth backup`; berth must not run, and the current store is kept as a backup",
    details: "Run it as berth's user, or as root beside the service of `berth install`: it then runs as the service's user.",
    options: {},
    completes: "files",
    run: async ({ context, words: [file = ""], screen }) => {
      const { settings } = loadSettings(context);
      const postgres = configuredPostgres(settings.database);
      const to = { folder: settings.data, file, version: VERSION, clock: context.clock };
      const { madeOn, kept } = postgres ? await (await loadMove()).restorePostgres({ ...to, postgres }) : restore(to);
      screen.print(
        `${postgres ? "The database" : resolve(settings.data)} is as it was on ${new Date(madeOn).toISOString()}.${kept === undefined ? "" : ` The previous store is in ${kept}.`}`,
      );
      screen.print("Users must sign in again.");
      const missing = missingFor(settings);
      screen.print(
        missing.length === 0 ? "Nothing is missing here: start berth." : `Missing here:\n${missing.map((line) => `- ${line}`).join("\n")}`,
      );
    },
  }),
};

/** What a berth on this data folder needs and a backup does not contain, and what to do. */
function missingFor(settings: Settings): string[] {
  const { data, credentialsKey, credentialsKeyFile, adminKey, gateways, registry, database } = settings;
  const lacks = (file: string) => !existsSync(join(resolve(data), file));
  const missing: string[] = [];
  if (credentialsKey.length === 0 && credentialsKeyFile === undefined && lacks(KEY_FILE))
    missing.push(
      `the key of the credentials, which belongs ${keyPlace(settings)}: put your copy there before you start berth. Without it, stored credentials and the keys that sign docker tokens stay sealed.`,
    );
  if (adminKey === undefined && lacks(ADMIN_KEY_FILE))
    missing.push(`the first user's key, ${join(resolve(data), ADMIN_KEY_FILE)}: put it back, or the next start makes a new one and prints it.`);
  if (gateways.port !== undefined && database.url === undefined && lacks(GATEWAY_TOKEN_FILE))
    missing.push(
      "the token of gateways on other machines, which this older backup does not hold: give each of them what `berth gateways token` prints.",
    );
  const { storage } = registryPlace(settings);
  if (registry.kind === "embedded" && storage.kind === "folder" && !existsSync(storage.folder))
    missing.push(`the images of berth's own registry, ${storage.folder}: copy them back, or push them again.`);
  return missing;
}
