import type { Parent } from "./parent.ts";

/** What goes on until it is told to end. */
export type Running = { close(): Promise<void> };

/** Resolves at the first SIGTERM or SIGINT; a second one, of either kind, ends the process at once, for somebody who will not wait. */
export function untilTold(): Promise<void> {
  return new Promise((resolve) => {
    let told = false;
    const hear = () => {
      if (told) process.exit(130);
      told = true;
      resolve();
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, hear);
  });
}

/** Says that the role runs, to whoever forked this process; then goes on until told to end, and ends the role. */
export async function untilOver(role: Running, parent: Parent | undefined): Promise<void> {
  parent?.ready();
  parent?.onGone(() => process.exit(1));
  await untilTold();
  await role.close();
}
