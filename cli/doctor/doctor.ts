import { readFileSync } from "node:fs";
import { Fault } from "../../lib/fault.ts";
import { type DoctorOptions, openCheckContext } from "./check.ts";
import { CHECKS } from "./checks.ts";
import { countRows, reportJson, formatTotals, formatRow, runChecks } from "./run-checks.ts";
import { defineVerb, type Verbs } from "../command.ts";

const MOST_IDLE = 3_600;

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "check every step from a browser to a container, with a test container that is removed afterwards, and say what to repair",
    details: "Ends with 0 if no check fails. Run it as berth's user and with its variables, where berth runs.",
    options: {
      json: { summary: "print one JSON document" },
      server: { value: "<url>", summary: "the public address, where not BERTH_WEB_ROOT, or where that is not set the edge of this machine" },
      registry: { value: "<url>", summary: "the registry proxy as docker reaches it, where not its listener on this machine" },
      "key-file": {
        value: "<file>",
        summary: "a file with an administrator's developer key; else the first user's, or with DATAGROK_URL that of BERTH_DATAGROK_KEY",
        completes: "files",
      },
      image: {
        value: "<image>",
        summary: "an image of berth that the orchestrator can pull, for its container; plain processes, Docker and a swarm of one node need none",
      },
      store: { summary: "check the whole store with SQLite; takes seconds for a large store, and berth can run meanwhile" },
      idle: { value: "<seconds>", summary: "hold silent connections this long, to find what closes them" },
    },
    run: async ({ context, options, screen, signal }) => {
      const { server, registry, image, idle = "0", store = false, "key-file": file, json = false } = options;
      const key = file === undefined ? undefined : readKey(file);
      const doctorOptions: DoctorOptions = { server: readUrl(server), registry: readUrl(registry), image, key, store, idleSeconds: readIdle(idle) };
      const rows = await runChecks(CHECKS, openCheckContext(context, doctorOptions), signal, (row) => {
        if (!json) screen.print(formatRow(row, screen.paint));
      });
      if (json) screen.json(reportJson(rows));
      else screen.print(`\n${formatTotals(rows)}`);
      signal.throwIfAborted();
      const wrong = rows.filter(({ state }) => state === "wrong").map(({ link }) => link);
      if (countRows(rows).wrong > 0) throw new Fault("CHAIN_BROKEN", `Wrong: ${wrong.join(", ")}.`);
    },
  }),
};

function readUrl(url: string | undefined): string | undefined {
  if (url === undefined || (/^https?:\/\//.test(url) && URL.canParse(url))) return url;
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(url)} is no http or https address.`);
}

function readIdle(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) <= MOST_IDLE) return Number(text);
  throw new Fault("SETTINGS_INVALID", `--idle takes seconds from 0 to ${MOST_IDLE}.`);
}

function readKey(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}
