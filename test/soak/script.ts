import { connect } from "node:net";

/** What a client does, step by step: it sends bytes, or waits until it has received some more that contain these. */
export type SoakStep = { send: string | Buffer } | { hear: string };

/** How it goes: `fin` closes as a program does that ends or closes, `rst` breaks the connection. */
export type Leave = "fin" | "rst";

export type SoakScript = { name: string; steps: readonly SoakStep[]; leave: Leave };

/** Longer than anything here takes, even on a busy machine. */
const MOST_MS = 20_000;

export class ScriptFailed extends Error {}

/** Plays one client to its end; resolves once its own side is closed. Rejects with ScriptFailed where what it waits for does not come. */
export function play({ name, steps, leave }: SoakScript, at: { port: number; from: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: at.port, host: "127.0.0.1", localAddress: at.from, noDelay: true });
    const [...left] = steps;
    let received = "";
    let error: Error | undefined;
    const fail = (why: string) => {
      error ??= new ScriptFailed(`${name}: ${why}, waiting for ${JSON.stringify(left[0])} after ${JSON.stringify(received.slice(-200))}`);
      socket.resetAndDestroy();
    };
    const timer = setTimeout(() => fail("nothing came"), MOST_MS);

    const goOn = () => {
      for (let step = left[0]; step !== undefined; step = left[0]) {
        if ("send" in step) socket.write(step.send);
        else {
          const index = received.indexOf(step.hear);
          if (index === -1) return;
          received = received.slice(index + step.hear.length);
        }
        left.shift();
      }
      if (leave === "rst") socket.resetAndDestroy();
      else socket.destroy();
    };

    socket.setEncoding("latin1");
    socket.once("connect", goOn);
    socket.on("data", (text: string) => {
      if (left.length === 0) return;
      received += text;
      goOn();
    });
    socket.once("end", () => left.length > 0 && fail("the connection ended"));
    socket.on("error", (cause) => left.length > 0 && fail(cause.message));
    socket.once("close", () => {
      clearTimeout(timer);
      if (error === undefined) resolve();
      else reject(error);
    });
  });
}

/** Where clients come from: one address has 28 000 ports, and each stays taken for a minute after a close. */
const SOURCES = Array.from({ length: 24 }, (_, at) => `127.0.2.${at + 1}`);

export type Played = { count: number; ms: number; failures: string[] };

/** Returns its index. The first one is printed at once: where the gateway has ended, the run ends without a report. */
export function recordFailure(failures: string[], failure: string): number {
  if (failures.length === 0) console.error(`  the first failure: ${failure}`);
  return failures.push(failure) - 1;
}

/** Plays `count` clients, the scripts in turn, so many at once, but starts none after `withinMs`. */
export async function playAll(
  scripts: readonly SoakScript[],
  { port, count, atOnce, withinMs }: { port: number; count: number; atOnce: number; withinMs: number },
): Promise<Played> {
  const begun = performance.now();
  const failures: string[] = [];
  let next = 0;
  let done = 0;
  const client = async () => {
    while (next < count && performance.now() - begun < withinMs) {
      const turn = next++;
      const script = scripts[turn % scripts.length] as SoakScript;
      try {
        await play(script, { port, from: SOURCES[turn % SOURCES.length] as string });
        done++;
      } catch (error) {
        if (!(error instanceof ScriptFailed)) throw error;
        recordFailure(failures, error.message);
        // A gateway that is broken is not worth the whole time.
        if (failures.length > 50) return;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return { count: done, ms: performance.now() - begun, failures };
}
