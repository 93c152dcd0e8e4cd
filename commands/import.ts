import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import { openAskServer } from "../gateway/datagrok/ask-server.ts";
import { listPages } from "../gateway/datagrok/list-pages.ts";
import { signInWithKey } from "../gateway/datagrok/sign-in-with-key.ts";
import type { CallControl } from "./call-control.ts";
import { callHere, type Here, settingsHere } from "./here.ts";
import { readWords } from "./read-words.ts";
import { textTable } from "./text-table.ts";

export const usage = `Usage: berth import <url> [--key-file <file>|-] [--adopt] [--dry-run|--yes]
  Takes images and containers of the Datagrok server at <url> into the berth that runs on the same data folder, with their ids; what is here
  already stays as it is. Its developer key comes from a file, from standard input (-), or from BERTH_DATAGROK_KEY.
  --adopt    takes over what runs on this machine's engine, without stopping it
  --dry-run  only prints what would be done
  --yes      does it without asking`;

export type ImportRow = {
  kind: string;
  id: string;
  name: string;
  status: string;
  fate: "import" | "adopt" | "here" | "left";
  why: string;
  author: string;
};

type Asked = { url: string; keyFile: string | undefined; adopt: boolean; dryRun: boolean; yes: boolean };

type Parts = {
  call: CallControl;
  /** The server's developer key, from where the command line says. */
  key(keyFile: string | undefined): Promise<string>;
  /** Asks a person; undefined where none is there. */
  confirm: ((question: string) => Promise<boolean>) | undefined;
  print(text: string): void;
  clock: Clock;
};

const WHAT: Record<ImportRow["fate"], string> = { import: "import", adopt: "adopt", here: "is here already", left: "leave" };
const READ_MS = 300_000;
/** Each that is to be adopted is tried to be reached. */
const TAKE_MS = 300_000;

/** `berth import`. Faults: SETTINGS_INVALID for a command line that is wrong, those of the server that is read and of `call`. */
export async function runImport(args: string[], parts: Parts): Promise<void> {
  const asked = readAsked(args);
  const entities = await readServer(asked, await parts.key(asked.keyFile), parts.clock);
  const take = (dryRun: boolean) => parts.call<ImportRow[]>("POST", "/admin/import", { ...entities, adopt: asked.adopt, dryRun }, TAKE_MS);
  const planned = await take(true);
  parts.print(tableOf(planned));
  const count = numbersOf(planned);
  if (count.taken === 0) return parts.print("\nThere is nothing to import.");
  if (asked.dryRun) return parts.print(`\nNothing was imported: ${count.said} would be.`);
  if (!asked.yes) {
    if (parts.confirm === undefined) throw new Fault("SETTINGS_INVALID", "Nothing was imported yet: say --yes to import this.");
    parts.print("");
    if (!(await parts.confirm(`Import ${count.said}? [y/N] `))) return parts.print("Nothing was imported.");
  }
  const done = await take(false);
  // Something may have come between.
  if (JSON.stringify(done) !== JSON.stringify(planned)) parts.print(`\n${tableOf(done)}`);
  parts.print(`\nImported ${numbersOf(done).said}.`);
}

function readAsked(args: string[]): Asked {
  const { values, positionals } = readWords(
    {
      args,
      allowPositionals: true,
      options: { "key-file": { type: "string" }, adopt: { type: "boolean" }, "dry-run": { type: "boolean" }, yes: { type: "boolean" } },
    },
    usage,
  );
  const [url = ""] = positionals;
  if (positionals.length !== 1) throw new Fault("SETTINGS_INVALID", usage);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new Fault("SETTINGS_INVALID", `${JSON.stringify(url)} is no address of a server: https://stand.example.com, say.`);
  return { url, keyFile: values["key-file"], adopt: values.adopt ?? false, dryRun: values["dry-run"] ?? false, yes: values.yes ?? false };
}

async function readServer({ url }: Asked, key: string, clock: Clock): Promise<{ images: unknown[]; containers: unknown[] }> {
  const server = openAskServer({ url, connections: 1, clock });
  const over = new AbortController();
  const late = () => new Fault("DATAGROK_AWAY", `${new URL(url).host} did not tell its images and containers within ${READ_MS / 60_000} minutes.`);
  const signal = clock.deadline(READ_MS, late, over.signal);
  try {
    const token = await signInWithKey(server, key, signal);
    return {
      images: await listPages(server, "/docker/images", token, signal),
      containers: await listPages(server, "/docker/containers", token, signal),
    };
  } finally {
    over.abort();
    await server.close();
  }
}

function tableOf(rows: readonly ImportRow[]): string {
  return textTable(
    ["WHAT", "KIND", "NAME", "ID", "STATUS", "OWNER", "NOTE"],
    rows.map(({ kind, id, name, status, fate, why, author }) => [WHAT[fate], kind, name, id, status, author, why]),
  );
}

function numbersOf(rows: readonly ImportRow[]): { taken: number; said: string } {
  const taken = rows.filter(({ fate }) => fate === "import" || fate === "adopt");
  const images = taken.filter(({ kind }) => kind === "image").length;
  const adopted = taken.filter(({ fate }) => fate === "adopt").length;
  const containers = taken.length - images;
  const said = [`${images} ${images === 1 ? "image" : "images"}`, `${containers} ${containers === 1 ? "container" : "containers"}`];
  return { taken: taken.length, said: `${said.join(" and ")}${adopted === 0 ? "" : ` (${adopted} of them running)`}` };
}

/** `berth import` */
export async function run(here: Here): Promise<void> {
  const { settings } = settingsHere(here);
  await runImport(here.args, {
    call: callHere(here),
    key: async (keyFile) => {
      const key = keyFile === undefined ? settings.datagrok.key : keyFile === "-" ? await readInput() : readKeyFile(keyFile);
      if (key === undefined || key.trim() === "")
        throw new Fault(
          "SETTINGS_INVALID",
          "A developer key of that server is needed: --key-file <file>, --key-file - for standard input, or BERTH_DATAGROK_KEY.",
        );
      return key.trim();
    },
    confirm: process.stdin.isTTY && process.stdout.isTTY ? confirm : undefined,
    print: (text) => console.log(text),
    clock: here.clock,
  });
}

async function confirm(question: string): Promise<boolean> {
  const asking = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await asking.question(question)).trim());
  } finally {
    asking.close();
  }
}

async function readInput(): Promise<string> {
  let text = "";
  for await (const piece of process.stdin) if (text.length < 10_000) text += String(piece);
  return text;
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The key file ${path} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? "no reason given"}.`, {
      cause,
    });
  }
}
