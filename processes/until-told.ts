import type { Parent } from "./parent.ts";

/** What goes on until it is told to end. */
export type Running = {
  /** `handedOver`: others accept connections in its place already, so no client has to be turned away. */
  close(handedOver?: boolean): Promise<void>;
};

const ENDS = ["SIGTERM", "SIGINT"] as const;

/** Resolves at the first of these signals; a second one, of any kind, ends the process at once, for somebody who will not wait. */
export function untilTold(signals: readonly NodeJS.Signals[] = ENDS): Promise<void> {
  return new Promise((resolve) => {
    let told = false;
    const hear = () => {
      if (told) process.exit(130);
      told = true;
      resolve();
    };
    for (const signal of signals) process.on(signal, hear);
  });
}

/** Starts the role and says to whoever forked this process that it runs; then goes on until told to end, and ends it. Told while it starts, it ends all the same. */
export async function untilOver(start: () => Promise<Running>, parent: Parent | undefined): Promise<void> {
  const told = parent?.told() ?? untilTold();
  const role = await start();
  parent?.ready();
  const end = await told;
  await role.close(end?.handedOver ?? false);
}
