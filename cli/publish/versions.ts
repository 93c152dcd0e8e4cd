import { Fault } from "../../lib/fault.ts";
import { type Verbs } from "../command.ts";
import { requestVerb } from "../server/server-command.ts";
import { formatAge, formatTable } from "../terminal.ts";

type VersionOnWire = {
  number: number;
  version: string;
  publishedOn: string;
  by: string | null;
  restores: number | null;
  replacedOn: string | null;
  containers: number;
  good: boolean | null;
};

/** `berth history` */
export const HISTORY: Verbs = {
  "": requestVerb({
    words: "<package>",
    summary: "list a package's current and earlier versions, the newest first",
    request: (call, [name = ""]) => call<{ name: string; versions: VersionOnWire[] }>("GET", `${packagePath(name)}/versions`),
    format: ({ name, versions }, _words, screen, now) => {
      if (versions.length === 0) return `${name} has no versions yet: berth stores one with each publish.`;
      const rows = versions.map((one) => [
        String(one.number),
        one.version,
        `${formatAge(one.publishedOn, now)} ago`,
        one.by ?? "-",
        String(one.containers),
        `${stateOf(one)}${one.restores === null ? "" : `, the same as ${one.restores}`}`,
      ]);
      return formatTable(["NUMBER", "VERSION", "PUBLISHED", "BY", "CONTAINERS", "STATE"], rows, screen);
    },
  }),
};

function stateOf({ replacedOn, containers, good }: VersionOnWire): string {
  if (containers === 0) return replacedOn === null ? "current, unpublished" : "unpublished";
  if (replacedOn === null) return "current";
  return good ? "good" : "failed";
}

/** `berth rollback` */
export const ROLLBACK: Verbs = {
  "": requestVerb({
    expects: ["restored"],
    words: "<package>",
    summary: "publish an earlier version of a package again: its images and its definitions",
    details:
      "Without --to, it is the newest earlier version whose images were ready and whose containers had not failed when it was replaced.\nConnections and credentials stay as they are. A container that runs is replaced as after a publish.\nBERTH_KEEP_VERSIONS sets how many earlier versions are stored; berth registry retain keeps their images.",
    options: { to: { value: "<number>", summary: "the number of the version in berth history" } },
    request: (call, [name = ""], { to }) => {
      if (to !== undefined && !/^[1-9]\d{0,8}$/.test(to))
        throw new Fault("SETTINGS_INVALID", `--to does not take ${JSON.stringify(to)}. Take a number from berth history ${name}.`);
      return call<{ name: string; restored: number; version: string }>(
        "POST",
        `${packagePath(name)}/rollback`,
        to === undefined ? {} : { to: Number(to) },
      );
    },
    format: ({ name, restored, version }) => `${name} is version ${restored} (${version}) again.`,
  }),
};

type UnpublishedOnWire = { name: string; containers: string[] };

/** `berth unpublish` */
export const UNPUBLISH: Verbs = {
  "": requestVerb({
    words: "<package>",
    summary: "stop and remove all containers and images of a package",
    details:
      "The package keeps its names, credentials and versions: berth rollback <package> or another publish brings its containers back with the same ids.\nThe images stay in the registry: berth registry rm removes them.",
    options: { yes: { summary: "remove them; without this option only list them" } },
    request: async (call, [name = ""], { yes = false }) => ({
      ...(await call<UnpublishedOnWire>("DELETE", `${packagePath(name)}?dryRun=${!yes}`)),
      removed: yes,
    }),
    format: ({ name, containers, removed }) => {
      const names = containers.length === 0 ? `${name} has no containers.` : containers.join("\n");
      return removed ? `Removed all containers of ${name}:\n${names}` : `${names}\nNothing was removed. Add --yes to remove them.`;
    },
  }),
};

function packagePath(name: string): string {
  return `/packages/published/${name.split("/").map(encodeURIComponent).join("/")}`;
}
