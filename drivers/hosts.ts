import { advisedFault } from "./faults.ts";
import type { Call, Driver, Host, Observed, Spec, DriverEvent } from "./driver.ts";
import { foreignOwnerOf } from "./labels.ts";

/**
 * An installation's two hosts as one driver. A container runs on the host that its spec is for, on `cvm` where it says none; who asks for a service
 * need not know on which it is. `apart`: what runs on the one, the other does not know, as with two clusters. Where they share one, the host only
 * says how a container starts. What both must be asked fails when either does: half a list would say that the rest is gone.
 */
export function hostsDriver({ cvm, datagrok, apart }: Record<Host, Driver> & { apart: boolean }): Driver {
  const places = apart ? [cvm, datagrok] : [cvm];

  /** Who of them has the service, and what it knows of it; of two, the one where it runs, or would go on. */
  const find = async (among: readonly Driver[], service: string, call: Call) => {
    const asked = await Promise.allSettled(among.map(async (driver) => ({ driver, fact: await driver.inspect(service, call) })));
    const found = asked.flatMap((one) => (one.status === "fulfilled" && one.value.fact ? [{ driver: one.value.driver, fact: one.value.fact }] : []));
    // One that has it is answer enough; that there is none, both must say.
    if (found.length === 0) refuseFailed(asked);
    return found.find(({ fact }) => fact.running) ?? found.find(({ fact }) => fact.paused) ?? found[0];
  };

  return {
    // No `pulls`: the engine that has resolved an image need not be the one that runs it.
    name: cvm.name,
    ...(cvm.watchedAddresses || datagrok.watchedAddresses ? { watchedAddresses: true } : {}),
    resolve: (image, call) => cvm.resolve(image, call),
    deploy: async (spec, call) => {
      const driver = spec.host === "datagrok" ? datagrok : cvm;
      // One name is one service: what the other host has of it goes first, as an older generation does.
      const others = apart ? places.filter((one) => one !== driver) : [];
      const before = await find(others, spec.service, call);
      if (before) {
        refuseForeignOwner(before.fact, spec);
        await before.driver.destroy(spec.service, call);
      }
      return driver.deploy(spec, call);
    },
    pause: async (service, call) => (await (await find(places, service, call))?.driver.pause?.(service, call)) ?? false,
    destroy: async (service, call) => refuseFailed(await Promise.allSettled(places.map((driver) => driver.destroy(service, call)))),
    inspect: async (service, call) => (await find(places, service, call))?.fact,
    list: async (call) => (await Promise.all(places.map((driver) => driver.list(call)))).flat(),
    logs: async function* (service, which, call) {
      const at = await find(places, service, call);
      if (at) yield* at.driver.logs(service, which, call);
    },
    events: (call) => mergeEvents(places, call),
    close: async () => refuseFailed(await Promise.allSettled([cvm.close(), datagrok.close()])),
  };
}

/** Each has done what it could; the first that failed is what there is to say. */
function refuseFailed(asked: readonly PromiseSettledResult<unknown>[]): void {
  for (const one of asked) if (one.status === "rejected") throw one.reason as Error;
}

function refuseForeignOwner({ service, labels }: Observed, spec: Spec): void {
  const owner = foreignOwnerOf(labels, spec.labels);
  if (owner !== undefined) throw advisedFault("SPEC_REFUSED", `The name ${service} is taken on the installation's other host by ${owner}`);
}

type Stream = AsyncIterator<DriverEvent>;
type Arrived = { stream: Stream; event: IteratorResult<DriverEvent> } | { error: unknown };

/** The events of several drivers, as each tells them. One of each at most waits to be taken. What one fails with ends them all. */
export async function* mergeEvents(drivers: readonly Driver[], { signal }: Call): AsyncGenerator<DriverEvent> {
  const over = new AbortController();
  const own = AbortSignal.any([signal, over.signal]);
  // Not a race of promises: at the one of a silent driver every event of the others would leave something.
  const arrived: Arrived[] = [];
  let wake = () => {};
  const ask = async (stream: Stream) => {
    try {
      arrived.push({ stream, event: await stream.next() });
    } catch (error) {
      arrived.push({ error });
    }
    wake();
  };
  const streams = drivers.map((driver) => driver.events({ signal: own })[Symbol.asyncIterator]());
  const asked = new Map(streams.map((stream) => [stream, ask(stream)]));
  try {
    while (asked.size > 0) {
      const next = arrived.shift();
      if (!next) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if ("error" in next) throw next.error;
      const { stream, event } = next;
      asked.delete(stream);
      if (event.done) continue;
      yield event.value;
      asked.set(stream, ask(stream));
    }
  } finally {
    over.abort(new Error("Nobody listens any more."));
    await Promise.all(asked.values());
    for (const stream of streams) await stream.return?.();
  }
}
