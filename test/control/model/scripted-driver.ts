import type { Driver } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";

export type ScriptedVerb = "resolve" | "deploy" | "pause" | "destroy" | "inspect" | "list";
export const DRIVER_CALLS: readonly ScriptedVerb[] = ["resolve", "deploy", "pause", "destroy", "inspect", "list"];

/** How the next call of a kind goes wrong; `unheard` is carried out, and its answer lost. */
export type Mishap = "refused" | "away" | "unheard" | "hangs";
export const MISHAPS: readonly Mishap[] = ["refused", "away", "unheard", "hangs"];

export type Script = {
  /** Takes effect once, at the next such call. */
  next(name: ScriptedVerb, mishap: Mishap): void;
  /** All calls go well from now on; those that hang go on hanging. */
  clear(): void;
  /** Between one process and the orchestrator, until `kill`: from then on it asks nothing and hears nothing. */
  over(driver: Driver): { driver: Driver; kill: () => void };
};

export function openScript(): Script {
  const planned: { name: ScriptedVerb; mishap: Mishap }[] = [];
  const silence = new Promise<never>(() => {});
  const mishapOf = (name: ScriptedVerb): Mishap | undefined => {
    const at = planned.findIndex((one) => one.name === name);
    return at < 0 ? undefined : planned.splice(at, 1)[0]?.mishap;
  };
  return {
    next: (name, mishap) => void planned.push({ name, mishap }),
    clear: () => planned.splice(0),
    over: (driver) => {
      let dead = false;
      const scripted =
        <Args extends [unknown, { signal: AbortSignal }] | [{ signal: AbortSignal }], Answer>(
          name: ScriptedVerb,
          ask: (...args: Args) => Promise<Answer>,
        ) =>
        async (...args: Args): Promise<Answer> => {
          if (dead) return silence;
          const { signal } = args.at(-1) as { signal: AbortSignal };
          const mishap = mishapOf(name);
          try {
            if (mishap === "refused") throw new Fault("ENGINE_FAILED", `The engine failed at ${name}.`);
            if (mishap === "away") throw new Fault("ENGINE_UNREACHABLE", `The engine was away at ${name}.`);
            if (mishap === "hangs") await untilAborted(signal);
            const answer = await ask(...args);
            if (mishap === "unheard") throw new Fault("ENGINE_UNREACHABLE", `The engine's answer to ${name} was lost.`);
            return dead ? silence : answer;
          } catch (error) {
            if (dead) return silence;
            throw error;
          }
        };
      const { pause } = driver;
      return {
        kill: () => (dead = true),
        driver: {
          ...driver,
          resolve: scripted("resolve", driver.resolve),
          deploy: scripted("deploy", driver.deploy),
          ...(pause ? { pause: scripted("pause", pause) } : {}),
          destroy: scripted("destroy", driver.destroy),
          inspect: scripted("inspect", driver.inspect),
          list: scripted("list", driver.list),
          logs: async function* (...args) {
            if (dead) await silence;
            yield* driver.logs(...args);
          },
          events: async function* (call) {
            for await (const event of driver.events(call)) {
              if (dead) await silence;
              yield event;
            }
          },
        },
      };
    },
  };
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
