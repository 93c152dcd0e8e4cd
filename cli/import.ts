import { createInterface } from "node:readline/promises";
import { listPages, openDatagrokClient, signInWithKey } from "../gateway/datagrok/datagrok-client.ts";
import type { Clock } from "../lib/clock.ts";
import { withTimeout } from "../lib/deadline.ts";
import { Fault } from "../lib/fault.ts";
import { loadSettings, localApi } from "./command-context.ts";
import { defineVerb, requireHttpUrl, type Verbs } from "./command.ts";
import type { CallApi } from "./server/server-client.ts";
import { loadKeyFile } from "./server/server-command.ts";
import { formatTable, type Screen } from "./terminal.ts";

type ImportRow = {
  kind: string;
  id: string;
  name: string;
  status: string;
  fate: "import" | "adopt" | "here" | "left";
  why: string;
  author: string;
};

type ImportOptions = { url: string; adopt: boolean; dryRun: boolean; yes: boolean };

type ImportDeps = {
  call: CallApi;
  /** The developer key of that server. */
  key: string;
  /** Undefined without a terminal. */
  confirm: ((question: string) => Promise<boolean>) | undefined;
  screen: Screen;
  clock: Clock;
};

const ACTIONS: Record<ImportRow["fate"], string> = { import: "import", adopt: "adopt", here: "is here already", left: "leave" };
const READ_MS = 300_000;
/** berth connects to each container that it adopts. */
const IMPORT_MS = 300_000;

export const verbs: Verbs = {
  "": defineVerb({
    words: "<url>",
    summary: "import images and containers from a Datagrok server, with their ids, into the berth of this data folder",
    details:
      "Existing images and containers stay unchanged. The server's developer key comes from a file, from standard input, or from BERTH_DATAGROK_KEY.",
    options: {
      "key-file": { value: "<file>", summary: "file with a developer key of that server; - is standard input", completes: "files" },
      adopt: { summary: "adopt containers that run on this machine's engine, without stopping them" },
      "dry-run": { summary: "print the plan only" },
      yes: { summary: "import without confirmation" },
    },
    run: async ({ context, words: [url = ""], options, screen }) => {
      requireHttpUrl(url);
      const { datagrok } = loadSettings(context).settings;
      const key = await readKey(options["key-file"], datagrok.key);
      const importOptions = { url, adopt: options.adopt ?? false, dryRun: options["dry-run"] ?? false, yes: options.yes ?? false };
      const isPerson = process.stdin.isTTY && process.stdout.isTTY;
      await runImport(importOptions, { call: localApi(context), key, confirm: isPerson ? confirm : undefined, screen, clock: context.clock });
    },
  }),
};

/** Faults: those of that server, and of `call`. */
async function runImport(importOptions: ImportOptions, deps: ImportDeps): Promise<void> {
  const { print } = deps.screen;
  const entities = await readServer(importOptions, deps.key, deps.clock);
  const take = (dryRun: boolean) => deps.call<ImportRow[]>("POST", "/admin/import", { ...entities, adopt: importOptions.adopt, dryRun }, IMPORT_MS);
  const planned = await take(true);
  print(tableOf(planned, deps.screen));
  const count = countTaken(planned);
  if (count.taken === 0) return print("\nThere is nothing to import.");
  if (importOptions.dryRun) return print(`\nNothing was imported: ${count.summary} would be.`);
  if (!importOptions.yes) {
    if (deps.confirm === undefined) throw new Fault("SETTINGS_INVALID", "Nothing was imported. Add --yes to import this.");
    print("");
    if (!(await deps.confirm(`Import ${count.summary}? [y/N] `))) return print("Nothing was imported.");
  }
  const done = await take(false);
  // The plan may have changed meanwhile.
  if (JSON.stringify(done) !== JSON.stringify(planned)) print(`\n${tableOf(done, deps.screen)}`);
  print(`\nImported ${countTaken(done).summary}.`);
}

async function readKey(keyFile: string | undefined, set: string | undefined): Promise<string> {
  const key = keyFile === undefined ? set : keyFile === "-" ? await readInput() : loadKeyFile(keyFile);
  if (key !== undefined && key.trim() !== "") return key.trim();
  throw new Fault(
    "SETTINGS_INVALID",
    "The developer key of that server is missing: set --key-file <file>, --key-file - for standard input, or BERTH_DATAGROK_KEY.",
  );
}

async function readServer({ url }: ImportOptions, key: string, clock: Clock): Promise<{ images: unknown[]; containers: unknown[] }> {
  const server = openDatagrokClient({ url, connections: 1, clock });
  const overdue = () => new Fault("DATAGROK_AWAY", `${new URL(url).host} did not list its images and containers within ${READ_MS / 60_000} minutes.`);
  try {
    return await withTimeout({ clock, ms: READ_MS, overdue }, async (signal) => {
      const token = await signInWithKey(server, key, signal);
      return {
        images: await listPages(server, "/docker/images", token, signal),
        containers: await listPages(server, "/docker/containers", token, signal),
      };
    });
  } finally {
    server.close();
  }
}

function tableOf(rows: readonly ImportRow[], screen: Screen): string {
  return formatTable(
    ["WHAT", "KIND", "NAME", "ID", "STATUS", "OWNER", "NOTE"],
    rows.map(({ kind, id, name, status, fate, why, author }) => [ACTIONS[fate], kind, name, id, status, author, why]),
    screen,
  );
}

function countTaken(rows: readonly ImportRow[]): { taken: number; summary: string } {
  const taken = rows.filter(({ fate }) => fate === "import" || fate === "adopt");
  const images = taken.filter(({ kind }) => kind === "image").length;
  const adopted = taken.filter(({ fate }) => fate === "adopt").length;
  const containers = taken.length - images;
  const summary = [`${images} ${images === 1 ? "image" : "images"}`, `${containers} ${containers === 1 ? "container" : "containers"}`];
  return { taken: taken.length, summary: `${summary.join(" and ")}${adopted === 0 ? "" : ` (${adopted} of them running)`}` };
}

async function confirm(question: string): Promise<boolean> {
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await prompt.question(question)).trim());
  } finally {
    prompt.close();
  }
}

async function readInput(): Promise<string> {
  let text = "";
  for await (const piece of process.stdin) if (text.length < 10_000) text += String(piece);
  return text;
}
