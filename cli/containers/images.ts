import { ago } from "../terminal/text.ts";
import { stateColour, textTable } from "../terminal/text-table.ts";
import { type ImageOnWire, listOf } from "../server/find-entity.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verbs } from "../command.ts";

export function imageJson({ id, name, status, version, imageRef, updatedOn, logs }: ImageOnWire): Record<string, unknown> {
  return { name, status, version: version ?? null, ref: imageRef ?? null, updatedOn: updatedOn ?? null, logs: logs ?? "", id };
}

export const verbs: Verbs = {
  "": verb({
    words: "[<word>]",
    says: "list images, or those with a word in their names",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, status: { takes: "<beginning>", says: "only those whose status begins so: ready, error …" } },
    completes: "images",
    run: async ({ here, words: [word], given, screen }) => {
      const all = await listOf(serverOf(here, given), "images", word);
      const meant = all.filter(({ status }) => status.startsWith(given.status ?? "")).toSorted((a, b) => a.name.localeCompare(b.name));
      if (given.json) return screen.json(meant.map(imageJson));
      if (meant.length === 0) return screen.print(all.length === 0 && word === undefined ? "There are no images." : "There are none.");
      const now = here.clock.now();
      const rows = meant.map(({ id, name, status, version, imageRef, updatedOn }) => {
        return [name, status, version || "-", ago(updatedOn, now), imageRef || "-", id.slice(0, 8)];
      });
      const heads = ["NAME", "STATUS", "VERSION", "CHANGED", "IMAGE", "ID"];
      screen.print(textTable(heads, rows, screen, (column, cell) => (column === "STATUS" ? stateColour(cell) : undefined)));
    },
  }),
};
