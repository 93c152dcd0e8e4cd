import { Fault } from "../../lib/fault.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verbs } from "../command.ts";

type OrphanOnWire = { service: string; why: string; running: boolean; store: string; environment: string; container: string };

export const verbs: Verbs = {
  /**
   * Removing has to be confirmed: nobody but a person can know whether another berth on the same engine still needs them.
   */
  "": verb({
    words: "[<service>...]",
    says: "list services with berth's labels that belong to nothing in the store of the berth, or remove those that are named",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      remove: { says: "stop and remove those that are named" },
      all: { says: "with --remove: all of them" },
      yes: { says: "with --remove: do it, and not only say what would go" },
    },
    run: async ({ here, words: services, given, screen }) => {
      const { remove = false, all = false, yes = false } = given;
      const isClear = remove ? all !== services.length > 0 : !all && !yes && services.length === 0;
      if (!isClear) throw new Fault("SETTINGS_INVALID", "Usage: berth orphans [--remove --all|<service>... [--yes]]");
      const { call } = serverOf(here, given);
      const found = await call<OrphanOnWire[]>("GET", "/admin/orphans");
      const unknown = services.filter((service) => !found.some((one) => one.service === service));
      if (unknown.length > 0) throw new Fault("SETTINGS_INVALID", `No orphan is named ${unknown.join(", ")}.`);
      const meant = all || !remove ? found : found.filter(({ service }) => services.includes(service));
      const doomed = remove && yes ? meant : [];
      for (const { service } of doomed) {
        await call("DELETE", `/admin/orphans?service=${encodeURIComponent(service)}`);
        if (!given.json) screen.print(`Removed ${service}.`);
      }
      if (given.json) return screen.json(meant.map((one) => ({ ...one, removed: doomed.includes(one) })));
      if (meant.length === 0) return screen.print("There are no orphans.");
      if (doomed.length > 0) return;
      screen.print(listed(meant));
      if (remove) screen.print(`\nNothing was removed yet: say --yes to stop and remove ${meant.length === 1 ? "it" : `these ${meant.length}`}.`);
    },
  }),
};

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
