import { Fault } from "../../lib/fault.ts";
import { defineVerb, throwFaults, tryEach, type Verbs } from "../command.ts";
import { type ContainerOnWire, findByName } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { openProgressLine } from "../terminal.ts";
import { containerJson } from "./list.ts";
import { pollContainer } from "./wait.ts";

/** `berth rm` */
export const REMOVE: Verbs = {
  "": defineVerb({
    words: "<container>...",
    summary: "stop and remove containers; one that a package defines returns when the package is published again",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      force: { short: "f", summary: "also remove containers that run" },
      "no-wait": { summary: "return immediately; do not wait until they are gone" },
    },
    completes: "containers",
    run: async ({ context, words, options, screen, signal }) => {
      const server = selectServer(context, options);
      const containers: ContainerOnWire[] = [];
      for (const word of words) containers.push(await findByName(server, "containers", word));
      const running = containers.filter(({ status }) => !isEnded(status));
      if (running.length > 0 && !options.force)
        throw new Fault(
          "REQUEST_INVALID",
          `${running.map(({ name, status }) => `${name} is ${status}`).join(", ")}: nothing was removed. Stop it with berth stop, or add --force.`,
        );
      const progress = openProgressLine(screen, context.clock);
      const remove = async (container: ContainerOnWire) => {
        await server.call("DELETE", `/docker/containers/${container.id}`);
        const onStatus = (status: string) => progress.update(`${container.name}: ${status}`);
        if (!options["no-wait"]) await pollContainer({ server, container, until: () => false, onStatus, clock: context.clock, signal });
        return container;
      };
      const { results: removed, faults } = await tryEach(containers, remove, signal).finally(progress.close);
      if (options.json) screen.json(removed.map(containerJson));
      else for (const { name } of removed) screen.print(`Removed ${name}.`);
      throwFaults(faults);
    },
  }),
};

function isEnded(status: string): boolean {
  return status.startsWith("stopped") || status === "error";
}
