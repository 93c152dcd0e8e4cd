import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type ImageOnWire, named } from "../server/find-entity.ts";
import type { Server } from "../server/server-client.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { openProgress } from "../terminal/progress.ts";
import { verb, type Verbs } from "../command.ts";
import { imageJson } from "./images.ts";

const LOOK_EVERY_MS = 300;
/** A server gives up before; a pull may take long. */
const LONGEST_MS = 3_600_000;

/** Looks until an image is known to be of use or not. Faults: VALIDATION_TIMED_OUT. */
export async function untilValidated(
  parts: { server: Pick<Server, "call">; hear(image: ImageOnWire): void; clock: Clock; signal: AbortSignal },
  image: ImageOnWire,
): Promise<ImageOnWire> {
  const { server, hear, clock, signal } = parts;
  const giveUpAt = clock.monotonic() + LONGEST_MS;
  for (let now = image; ; now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`)) {
    if (!/pending|validating/.test(now.status)) return now;
    hear(now);
    if (clock.monotonic() > giveUpAt) throw new Fault("VALIDATION_TIMED_OUT", `${now.name} is still ${now.status}: it is no longer waited for.`);
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

/** The end of what was written while it was looked for, which says why it cannot be used. */
export function whyUnusable({ name, logs }: ImageOnWire): string {
  const last = (logs ?? "").trim().split("\n").at(-1) ?? "";
  return `${name} cannot be used: ${last === "" ? "the server does not say why." : last}`;
}

export const verbs: Verbs = {
  "": verb({
    words: "<image>...",
    says: "have images looked for and checked again, and wait until that is done",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, "no-wait": { says: "only wish it, and do not wait for it" } },
    completes: "images",
    run: async ({ here, words, given, screen, signal }) => {
      const server = serverOf(here, given);
      const { clock } = here;
      const images = [];
      for (const word of words) images.push(await named(server, "images", word));
      const progress = openProgress(screen, clock);
      const hear = ({ name, status }: ImageOnWire) => progress.says(`${name}: ${status}`);
      const seen = await Promise.all(
        images.map(async (image) => {
          await server.call("GET", `/docker/images/${image.id}/revalidate`);
          const now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`);
          return given["no-wait"] ? now : untilValidated({ server, hear, clock, signal }, now);
        }),
      ).finally(progress.clear);
      if (given.json) screen.json(seen.map(imageJson));
      else
        for (const { name, status, imageRef } of seen)
          if (status !== "error") screen.print(`${name} is ${status}${imageRef ? `: ${imageRef}` : ""}.`);
      const wrong = seen.filter(({ status }) => status === "error");
      if (wrong.length > 0) throw new Fault("IMAGE_NOT_FOUND", wrong.map(whyUnusable).join("\n"));
    },
  }),
};
