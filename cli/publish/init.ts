import { existsSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { makeFolder } from "../../lib/make-folder.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { TEMPLATES } from "./templates.ts";

/** npm's rules for a name without a scope, and the part of a container's name. */
const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<folder>]",
    summary: "write a package with one container, ready for berth publish; the default is the working folder",
    details:
      "The container answers GET / and GET /square?number=4. Its files are in dockerfiles/api/.\nThe images that the Dockerfiles begin with are public ones of Docker Hub.\nExisting files stay: a folder that has a package.json or dockerfiles/ is refused.",
    options: {
      template: {
        value: "<language>",
        summary: `language of the container: ${Object.keys(TEMPLATES).join(", ")} (node)`,
        completes: Object.keys(TEMPLATES),
      },
      name: { value: "<name>", summary: "name of the package; the default is the folder's" },
    },
    completes: "folders",
    run: async ({ words: [word = "."], options, screen }) => {
      const folder = resolve(word);
      const name =
        options.name ??
        basename(folder)
          .toLowerCase()
          .replaceAll(/[^a-z0-9-]+/g, "-");
      if (!NAME.test(name))
        throw new Fault(
          "SETTINGS_INVALID",
          `${JSON.stringify(name)} cannot be a package's name. Use lower-case letters, digits and -: --name <name>.`,
        );
      for (const taken of ["package.json", "dockerfiles"])
        if (existsSync(join(folder, taken)))
          throw new Fault("SETTINGS_INVALID", `${join(folder, taken)} exists: nothing was written. Name a new folder: berth init <folder>.`);
      const template = TEMPLATES[(options.template ?? "node") as keyof typeof TEMPLATES];
      const files = {
        ...packageFiles(name),
        ...Object.fromEntries(Object.entries(template).map(([file, text]) => [`dockerfiles/api/${file}`, text])),
      };
      try {
        for (const [path, text] of Object.entries(files)) {
          makeFolder(dirname(join(folder, path)), 0o777);
          writeFileSync(join(folder, path), text, { flag: "wx" });
        }
      } catch (cause) {
        throw new Fault("SETTINGS_INVALID", `${folder} cannot be written: ${(cause as Error).message}.`, { cause });
      }
      const shown = relative(process.cwd(), folder) || ".";
      screen.print(`Wrote to ${folder}: ${Object.keys(files).join(", ")}.\n`);
      screen.print(`Next:\n  berth publish ${shown}\n  berth run ${name}-api\n  berth logs -f ${name}-api`);
    },
  }),
};

function packageFiles(name: string): Record<string, string> {
  const manifest = { name, version: "0.1.0", friendlyName: name, description: `The package ${name}` };
  return { "package.json": `${JSON.stringify(manifest, undefined, 2)}\n` };
}
