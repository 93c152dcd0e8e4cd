import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { findByName } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatDuration, formatTable, type Screen } from "../terminal.ts";

type UsualOnWire = { hours: string[]; starts: number; waitSeconds: number; memoryHours: number };
type SuggestionOnWire = { id: string; name: string; usual: UsualOnWire; says: string };
type WarmUpOnWire = { chosen: { hours: string[]; by: string; login: string | null } | null; usual: UsualOnWire; isSuggested: boolean; says: string };

const USAGE = "Usage: berth suggestions [<container> [--accept|--dismiss|--reset]]";

/** `berth suggestions` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "[<container>]",
    summary: "list containers that are worth keeping warm in their usual hours, or show and decide that of one",
    details: "Figures are of the last four weeks: cold starts in these hours, how long requests waited for them, and what the longer run costs.",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      accept: { summary: "keep the container warm in its usual hours from now on" },
      dismiss: { summary: "keep it warm in no hours but its keep_warm; suggest nothing" },
      reset: { summary: "forget that decision" },
    },
    completes: "containers",
    run: async ({ context, words: [word], options, screen }) => {
      const { accept = false, dismiss = false, reset = false } = options;
      const decisions = [accept, dismiss, reset].filter(Boolean).length;
      if (decisions > 1 || (word === undefined && decisions > 0)) throw new Fault("SETTINGS_INVALID", USAGE);
      const server = selectServer(context, options);
      if (word === undefined) {
        const all = await server.call<SuggestionOnWire[]>("GET", "/docker/suggestions");
        return options.json ? screen.json(all) : screen.print(all.length === 0 ? "There are no suggestions." : table(all, screen));
      }
      const { id, name } = await findByName(server, "containers", word);
      const at = `/docker/containers/${id}/warm-up`;
      let warmUp = await server.call<WarmUpOnWire>("GET", at);
      if (accept && warmUp.usual.hours.length === 0) throw new Fault("REQUEST_INVALID", `${name} has no usual hours. ${warmUp.says}`);
      if (decisions > 0) warmUp = await server.call<WarmUpOnWire>("PUT", at, { hours: accept ? warmUp.usual.hours : dismiss ? [] : null });
      if (options.json) return screen.json({ id, name, ...warmUp });
      screen.print([warmUp.says, decisionOn(name, warmUp)].filter((line) => line !== "").join("\n"));
    },
  }),
};

function table(all: readonly SuggestionOnWire[], screen: Screen): string {
  const rows = all.map(({ name, usual: { hours, starts, waitSeconds, memoryHours } }) => [
    name,
    hours.join("; "),
    String(starts),
    formatDuration(waitSeconds * 1_000),
    `${memoryHours} GiB h`,
  ]);
  return formatTable(["NAME", "USUAL HOURS", "COLD STARTS", "WAITED", "MEMORY"], rows, screen);
}

function decisionOn(name: string, { chosen, isSuggested }: WarmUpOnWire): string {
  if (chosen === null) return isSuggested ? `Keep it warm then: berth suggestions ${name} --accept` : "";
  const by = chosen.by === "auto" ? "BERTH_WARM_UP=auto" : (chosen.login ?? "a removed user");
  return chosen.hours.length === 0
    ? `${by} decided to keep it warm in no other hours.`
    : `It is kept warm on ${chosen.hours.join(", and on ")} (${by}).`;
}
