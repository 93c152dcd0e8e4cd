import { Fault } from "../fault.ts";
import type { CallControl } from "./call-control.ts";
import { callHere, type Here } from "./here.ts";
import { readWords } from "./read-words.ts";

type OrphanOnWire = { service: string; why: string; running: boolean; store: string; environment: string; container: string };

export const usage = "Usage: berth orphans [--remove --all|<service>... [--yes]]";

/**
 * `berth orphans`: services with berth's labels that belong to nothing in the store of the berth that runs, and with `--remove`
 * the end of those that are named. It has to be confirmed: nobody but a person can know whether another berth on the same engine
 * still needs them. Answers with what to print. Faults: SETTINGS_INVALID for a command line that is wrong, and those of `call`.
 */
export async function runOrphans(args: string[], call: CallControl): Promise<string> {
  const { remove, all, yes, services } = readAsked(args);
  const found = await call<OrphanOnWire[]>("GET", "/admin/orphans");
  const unknown = services.filter((service) => !found.some((one) => one.service === service));
  if (unknown.length > 0) throw new Fault("SETTINGS_INVALID", `No orphan is named ${unknown.join(", ")}.`);
  const meant = all || !remove ? found : found.filter(({ service }) => services.includes(service));
  if (meant.length === 0) return "There are no orphans.";
  if (!remove) return listed(meant);
  if (!yes)
    return `${listed(meant)}\n\nNothing was removed yet: say --yes to stop and remove ${meant.length === 1 ? "it" : `these ${meant.length}`}.`;
  const removed: string[] = [];
  for (const { service } of meant) {
    await call("DELETE", `/admin/orphans?service=${encodeURIComponent(service)}`);
    removed.push(`Removed ${service}.`);
  }
  return removed.join("\n");
}

const OPTIONS = {
  remove: { type: "boolean", default: false },
  all: { type: "boolean", default: false },
  yes: { type: "boolean", default: false },
} as const;

function readAsked(args: string[]): { remove: boolean; all: boolean; yes: boolean; services: string[] } {
  const { values, positionals } = readWords({ args, options: OPTIONS, allowPositionals: true }, usage);
  const { remove, all, yes } = values;
  const isClear = remove ? all !== positionals.length > 0 : !all && !yes && positionals.length === 0;
  if (isClear) return { remove, all, yes, services: positionals };
  throw new Fault("SETTINGS_INVALID", usage);
}

function listed(orphans: OrphanOnWire[]): string {
  return orphans
    .map(({ service, why, running, ...labels }) =>
      [
        `${service} (${running ? "running" : "ended"}): ${why}`,
        ...(["store", "environment", "container"] as const).map((name) => `  berth.${name}=${labels[name]}`),
      ].join("\n"),
    )
    .join("\n");
}

/** `berth orphans` */
export async function run(here: Here): Promise<void> {
  console.log(await runOrphans(here.args, callHere(here)));
}
