import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { type EntityKind, findByName } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";

const MASK = "***";

/** `berth inspect` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "<name>...",
    summary: "print all that the server has of containers or images, as JSON or YAML",
    details: "A name that a container and an image share is the container's, unless --type names one.",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      type: { value: "<type>", summary: "look only among these", completes: ["container", "image"] },
      "show-values": { summary: `print the values of environment variables; without it they are ${MASK}` },
    },
    completes: "containers",
    run: async ({ context, words, options, screen }) => {
      const server = selectServer(context, options);
      const load = async (word: string) => {
        const inKind = async (kind: EntityKind) => `/docker/${kind}/${(await findByName(server, kind, word)).id}`;
        const path = await inKind(options.type === "image" ? "images" : "containers").catch((error: unknown) => {
          if (options.type !== undefined || !(error instanceof Fault) || error.status !== 404) throw error;
          // Most names are containers': of two failures, that one has the better suggestion.
          return inKind("images").catch(() => Promise.reject(error));
        });
        return server.call<Record<string, unknown>>("GET", path);
      };
      const entities: Record<string, unknown>[] = [];
      for (const word of words) entities.push(await load(word));
      screen.json(options["show-values"] ? entities : entities.map(maskVariables));
    },
  }),
};

function maskVariables(entity: Record<string, unknown>): Record<string, unknown> {
  const { environmentVars: variables } = entity;
  if (typeof variables !== "object" || variables === null) return entity;
  return { ...entity, environmentVars: Object.fromEntries(Object.keys(variables).map((name) => [name, MASK])) };
}
