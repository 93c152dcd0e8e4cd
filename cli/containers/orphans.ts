import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";

type OrphanOnWire = { service: string; why: string; running: boolean; store: string; environment: string; container: string };

export const ORPHANS: Verbs = {
  /**
   * Removal needs a confirmation: only the administrator knows whether another berth on the same engine needs them.
   */
  "": defineVerb({
    words: "[<service>...]",
    summary: "list services with berth's labels that belong to no container in the store, or remove the named ones",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      remove: { summary: "stop and remove the named services" },
      all: { summary: "with --remove: all of them" },
      yes: { summary: "with --remove: remove them; without it only list them" },
    },
    run: async ({ context, words: services, options, screen }) => {
      const { remove = false, all = false, yes = false } = options;
      const isClear = remove ? all !== services.length > 0 : !all && !yes && services.length === 0;
      if (!isClear) throw new Fault("SETTINGS_INVALID", "Usage: berth orphans [--remove --all|<service>... [--yes]]");
      const { call } = selectServer(context, options);
      const existing = await call<OrphanOnWire[]>("GET", "/admin/orphans");
      const unknown = services.filter((service) => !existing.some((one) => one.service === service));
      if (unknown.length > 0) throw new Fault("SETTINGS_INVALID", `No orphan is named ${unknown.join(", ")}.`);
      const selected = all || !remove ? existing : existing.filter(({ service }) => services.includes(service));
      const removed = remove && yes ? selected : [];
      for (const { service } of removed) {
        await call("DELETE", `/admin/orphans?service=${encodeURIComponent(service)}`);
        if (!options.json) screen.print(`Removed ${service}.`);
      }
      if (options.json) return screen.json(selected.map((one) => ({ ...one, removed: removed.includes(one) })));
      if (selected.length === 0) return screen.print("There are no orphans.");
      if (removed.length > 0) return;
      screen.print(formatOrphans(selected));
      if (remove) screen.print(`\nNothing was removed. Add --yes to stop and remove ${selected.length === 1 ? "it" : `these ${selected.length}`}.`);
    },
  }),
};

function formatOrphans(orphans: OrphanOnWire[]): string {
  return orphans
    .map(({ service, why, running, ...labels }) =>
      [
        `${service} (${running ? "running" : "ended"}): ${why}`,
        ...(["store", "environment", "container"] as const).map((name) => `  berth.${name}=${labels[name]}`),
      ].join("\n"),
    )
    .join("\n");
}
