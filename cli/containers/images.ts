import { formatAge } from "../terminal/format.ts";
import { stateColour, formatTable } from "../terminal/text-table.ts";
import { type ImageOnWire, listEntities } from "../server/find-entity.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer } from "../server/server-command.ts";
import { defineVerb, type Verbs } from "../command.ts";

export function imageJson({ id, name, status, version, imageRef, updatedOn, logs }: ImageOnWire): Record<string, unknown> {
  return { name, status, version: version ?? null, ref: imageRef ?? null, updatedOn: updatedOn ?? null, logs: logs ?? "", id };
}

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<word>]",
    summary: "show images and their state, or those with a word in their names",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      status: { value: "<beginning>", summary: "show only statuses that begin with this: ready, error …" },
    },
    completes: "images",
    run: async ({ context, words: [word], options, screen }) => {
      const all = await listEntities(selectServer(context, options), "images", word);
      const meant = all.filter(({ status }) => status.startsWith(options.status ?? "")).toSorted((a, b) => a.name.localeCompare(b.name));
      if (options.json) return screen.json(meant.map(imageJson));
      if (meant.length === 0) return screen.print(all.length === 0 && word === undefined ? "There are no images." : "There are none.");
      const now = context.clock.now();
      const rows = meant.map(({ id, name, status, version, imageRef, updatedOn }) => {
        return [name, status, version || "-", formatAge(updatedOn, now), imageRef || "-", id.slice(0, 8)];
      });
      const heads = ["NAME", "STATUS", "VERSION", "CHANGED", "IMAGE", "ID"];
      screen.print(formatTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined)));
    },
  }),
};
