import { readFileSync } from "node:fs";
import { Fault } from "../fault.ts";
import { untilTold } from "../roles/until-told.ts";
import { type Asked, openChain } from "./doctor/chain.ts";
import { LINKS } from "./doctor/links.ts";
import { countOf, documentOf, lastLine, lineOf, painter } from "./doctor/print.ts";
import { walk } from "./doctor/walk.ts";
import type { Here } from "./here.ts";
import { readWords } from "./read-words.ts";

export const usage = `Usage: berth doctor [--json] [--server <url>] [--registry <url>] [--key-file <file>] [--image <image>] [--idle <seconds>]
  looks at each link from a browser to a container, with a container of its own that it removes again, and says what is wrong and what to do.
  Ends with 0 where nothing is wrong. Run it as berth's user and with its variables.
  --json      one document for programs
  --server    the public address, where not BERTH_WEB_ROOT, or where that is not set the edge of this machine
  --registry  the registry proxy as docker reaches it, where not its listener on this machine
  --key-file  a file with a developer key of an administrator; where unset, the first user's is taken
  --image     an image of berth that the orchestrator can pull, for its container; plain processes, Docker and a swarm of one node need none
  --idle      holds silent connections for so many seconds, to find who cuts them`;

const MOST_IDLE = 3_600;

/** `berth doctor`. Faults: CHAIN_BROKEN where a link is wrong. */
export async function run(here: Here): Promise<void> {
  const { json, ...asked } = readAsked(here.args);
  const stop = new AbortController();
  // What was made is removed first; a second signal ends it at once.
  void untilTold(["SIGTERM", "SIGINT", "SIGHUP"]).then(() => stop.abort(new Error("interrupted")));
  const paint = painter({ isTty: process.stdout.isTTY, noColor: here.env["NO_COLOR"] });
  const rows = await walk(LINKS, openChain(here, asked), stop.signal, (row) => {
    if (!json) console.log(lineOf(row, paint));
  });
  console.log(json ? documentOf(rows) : `\n${lastLine(rows)}`);
  if (stop.signal.aborted) throw new Fault("CHAIN_BROKEN", "Interrupted before all was looked at.");
  if (countOf(rows).wrong > 0) {
    const names = rows.filter(({ state }) => state === "wrong").map(({ link }) => link);
    throw new Fault("CHAIN_BROKEN", `Wrong: ${names.join(", ")}.`);
  }
}

function readAsked(args: string[]): Asked & { json: boolean } {
  const text = { type: "string" } as const;
  const options = { json: { type: "boolean" }, server: text, registry: text, "key-file": text, image: text, idle: text } as const;
  const { values } = readWords({ args, options }, usage);
  const { json = false, server, registry, image, idle = "0", "key-file": file } = values;
  for (const url of [server, registry])
    if (url !== undefined && (!/^https?:\/\//.test(url) || !URL.canParse(url)))
      throw new Fault("SETTINGS_INVALID", `"${url}" is no http or https URL.\n${usage}`);
  const idleSeconds = Number(idle);
  if (!/^\d+$/.test(idle) || idleSeconds > MOST_IDLE) throw new Fault("SETTINGS_INVALID", `--idle takes seconds from 0 to ${MOST_IDLE}.\n${usage}`);
  return { json, server, registry, image, idleSeconds, key: file === undefined ? undefined : readKey(file) };
}

function readKey(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}
