import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { openProgress } from "../terminal/progress.ts";
import type { ContainerOnWire } from "../server/entities.ts";
import { named } from "../server/find-entity.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "../server/server-command.ts";
import { verb, type Verb } from "../verb.ts";
import { containerJson } from "./containers.ts";
import { move, MOVES, type Move, type Outcome } from "./start-stop.ts";

/** `berth run` and `berth stop`, which differ in where they go. Faults: the cause of the first that failed, after the others were tried. */
export function moveVerb(to: Move, says: string): Verb {
  const { done, failed, doing } = MOVES[to];
  return verb({
    words: "<container>...",
    says,
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, "no-wait": { says: "only wish it, and do not wait for it" } },
    completes: "containers",
    run: async ({ here, words, given, screen, signal }) => {
      const server = serverOf(here, given);
      const { clock } = here;
      const containers: ContainerOnWire[] = [];
      for (const word of words) containers.push(await named(server, "containers", word));
      const progress = openProgress(screen, clock);
      const states = new Map<string, string>();
      const hear = (name: string, status: string) => {
        states.set(name, status);
        progress.says([...states].map(([one, state]) => `${one}: ${state}`).join(", "));
      };
      const wait = !given["no-wait"];
      const outcomes: Outcome[] = await Promise.all(
        containers.map((container) => move({ server, container, move: to, wait, hear: (status) => hear(container.name, status), clock, signal })),
      )
        .catch((error: unknown) => {
          if (signal.aborted) screen.tell(`No longer waited for: ${containers.map(({ name }) => name).join(", ")} may still be ${doing}.`);
          throw error;
        })
        .finally(progress.clear);
      if (given.json) screen.json(outcomes.map(({ container, ok, ms, cause }) => ({ ...containerJson(container), ok, ms, cause: cause ?? null })));
      else {
        for (const { container, ok, ms } of outcomes) {
          if (ok) screen.print(wait ? `${container.name} ${done} (${(ms / 1_000).toFixed(1)} s).` : `${container.name} is ${container.status}.`);
        }
      }
      const wrong = outcomes.filter(({ ok }) => !ok);
      if (!given.json)
        for (const { container, logs } of wrong) if (logs) screen.tell(`The last lines of ${container.name}:\n${logs.replaceAll(/^/gm, "  ")}`);
      if (wrong.length > 0)
        throw new Fault(codeOf(wrong), wrong.map(({ container, cause }) => `${container.name} ${failed}: ${cause?.message}`).join("\n"));
    },
  });
}

function codeOf([first]: Outcome[]): FaultCode {
  const code = first?.cause?.code ?? "";
  return Object.hasOwn(FAULTS, code) ? (code as FaultCode) : "ENGINE_FAILED";
}
