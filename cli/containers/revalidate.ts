import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type ImageOnWire, findByName } from "../server/find-entity.ts";
import type { ServerClient } from "../server/server-client.ts";
import { JSON_OPTION, SERVER_OPTIONS, selectServer } from "../server/server-command.ts";
import { openProgressLine } from "../terminal/screen.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { imageJson } from "./list.ts";

const POLL_MS = 300;
/** Longer than a server's own limit; a pull may take long. */
const MAX_WAIT_MS = 3_600_000;

/** Polls until an image is ready or has failed. Faults: VALIDATION_TIMED_OUT. */
export async function waitUntilValidated(
  deps: { server: Pick<ServerClient, "call">; onStatus(image: ImageOnWire): void; clock: Clock; signal: AbortSignal },
  image: ImageOnWire,
): Promise<ImageOnWire> {
  const { server, onStatus, clock, signal } = deps;
  const giveUpAt = clock.monotonic() + MAX_WAIT_MS;
  for (let now = image; ; now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`)) {
    if (!/pending|validating/.test(now.status)) return now;
    onStatus(now);
    if (clock.monotonic() > giveUpAt) throw new Fault("VALIDATION_TIMED_OUT", `${now.name} is still ${now.status}: gave up waiting.`);
    await clock.sleep(POLL_MS, signal);
  }
}

/** The last line of the validation's log has the reason. */
export function unusableReason({ name, logs }: ImageOnWire): string {
  const last = (logs ?? "").trim().split("\n").at(-1) ?? "";
  return `${name} cannot be used: ${last === "" ? "the server gives no reason." : last}`;
}

export const verbs: Verbs = {
  "": defineVerb({
    words: "<image>...",
    summary: "validate images again, and wait for the result",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, "no-wait": { summary: "return immediately; do not wait" } },
    completes: "images",
    run: async ({ context, words, options, screen, signal }) => {
      const server = selectServer(context, options);
      const { clock } = context;
      const images = [];
      for (const word of words) images.push(await findByName(server, "images", word));
      const progress = openProgressLine(screen, clock);
      const onStatus = ({ name, status }: ImageOnWire) => progress.update(`${name}: ${status}`);
      const validated = await Promise.all(
        images.map(async (image) => {
          await server.call("GET", `/docker/images/${image.id}/revalidate`);
          const now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`);
          return options["no-wait"] ? now : waitUntilValidated({ server, onStatus, clock, signal }, now);
        }),
      ).finally(progress.close);
      if (options.json) screen.json(validated.map(imageJson));
      else
        for (const { name, status, imageRef } of validated)
          if (status !== "error") screen.print(`${name} is ${status}${imageRef ? `: ${imageRef}` : ""}.`);
      const wrong = validated.filter(({ status }) => status === "error");
      if (wrong.length > 0) throw new Fault("IMAGE_NOT_FOUND", wrong.map(unusableReason).join("\n"));
    },
  }),
};
