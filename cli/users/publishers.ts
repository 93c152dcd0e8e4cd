import type { TrustedPublisherJson } from "../../control/api/schemas-accounts.ts";
import { PUBLISHER_RIGHTS } from "../../control/model/records.ts";
import { Fault } from "../../lib/fault.ts";
import type { Verbs } from "../command.ts";
import { requestVerb } from "../server/server-command.ts";
import { formatTable } from "../terminal.ts";

const ISSUERS: Readonly<Record<string, string>> = {
  github: "https://token.actions.githubusercontent.com",
  gitlab: "https://gitlab.com",
};

/** `berth publishers <verb>` */
export const verbs: Verbs = {
  ls: requestVerb({
    aliases: ["list"],
    words: "",
    summary: "list which CI jobs may publish what without a stored key",
    request: (call) => call<TrustedPublisherJson[]>("GET", "/admin/trusted-publishers"),
    format: (publishers, _words, screen) => {
      if (publishers.length === 0) return "There is no trusted publisher: berth publishers add <name>.";
      const rows = publishers.map(({ name, issuer, claims, login, packages, rights, lifetimeMinutes }) => [
        name,
        Object.keys(ISSUERS).find((short) => ISSUERS[short] === issuer) ?? issuer,
        Object.entries(claims)
          .map(([claim, value]) => `${claim}=${value}`)
          .join(" "),
        login,
        packages.join(" "),
        rights.join(","),
        `${lifetimeMinutes} min`,
      ]);
      return formatTable(["NAME", "ISSUER", "CLAIMS", "USER", "PACKAGES", "RIGHTS", "LIFETIME"], rows, screen);
    },
  }),
  add: requestVerb({
    expects: ["name"],
    words: "<name>",
    summary: "let CI jobs publish packages without a stored key",
    details:
      "The jobs show an identity token of the issuer, with this audience and these claims. berth publish and berth login --ci do that by themselves.\nWhat they publish belongs to the user.",
    options: {
      issuer: { value: "<url>", summary: "`iss` of the identity tokens; or github, gitlab" },
      claim: {
        value: "<name>=<value>",
        repeatable: true,
        summary: "a claim that the tokens must have; * in the value matches anything but /; may be repeated",
      },
      user: { value: "<login>", summary: "the author of what the jobs publish", completes: "users" },
      package: { value: "<package>", repeatable: true, summary: "a package that they may publish; may be repeated" },
      repository: {
        value: "<repository>",
        repeatable: true,
        summary: "a repository that they may use; the default is datagrok/<package> and datagrok/<package>-*",
      },
      right: {
        value: "<right>",
        repeatable: true,
        summary: "pull, push or publish; the default is all three",
        completes: PUBLISHER_RIGHTS,
      },
      audience: { value: "<text>", summary: "`aud` of the tokens; the default is the address of the server" },
      minutes: { value: "<number>", summary: "lifetime of the tokens that jobs receive, at most 60; the default is 15" },
    },
    request: (call, [name = ""], options) => {
      const { issuer, claim = [], user, package: packages = [], repository: repositories, right: rights, audience, minutes } = options;
      if (issuer === undefined || user === undefined || claim.length === 0 || packages.length === 0)
        throw new Fault("SETTINGS_INVALID", "Set --issuer, --claim, --user and --package: berth publishers add --help shows an example of each.");
      const claims = claim.map((one) => {
        const at = one.indexOf("=");
        if (at < 1) throw new Fault("SETTINGS_INVALID", `--claim ${JSON.stringify(one)} is no name and value: write repository=acme/plugins.`);
        return [one.slice(0, at), one.slice(at + 1)] as const;
      });
      if (minutes !== undefined && !/^\d{1,2}$/.test(minutes))
        throw new Fault("SETTINGS_INVALID", `--minutes ${JSON.stringify(minutes)} is no whole number from 1 to 60.`);
      return call<TrustedPublisherJson>("POST", "/admin/trusted-publishers", {
        name,
        issuer: ISSUERS[issuer] ?? issuer,
        claims: Object.fromEntries(claims),
        login: user,
        packages,
        ...(repositories === undefined ? {} : { repositories }),
        ...(rights === undefined ? {} : { rights }),
        ...(audience === undefined ? {} : { audience }),
        ...(minutes === undefined ? {} : { lifetimeMinutes: Number(minutes) }),
      });
    },
    format: ({ name, packages, audience }) => `Added ${name}. Its jobs may publish ${packages.join(", ")}, with identity tokens for ${audience}.`,
  }),
  rm: requestVerb({
    expects: ["isSuccess"],
    aliases: ["remove"],
    words: "<name>",
    summary: "remove a trusted publisher, and end the tokens of its jobs",
    request: (call, [name = ""]) => call<{ isSuccess: boolean }>("DELETE", `/admin/trusted-publishers/${encodeURIComponent(name)}`),
    format: (_done, [name = ""]) => `Removed ${name}. The tokens of its jobs have ended.`,
  }),
};
