import type { Driver, DriverEvent, Labels, Observed } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import { turns } from "../../fixtures/clock.ts";

type Instance = { id: string; service: string; labels: Labels; ports: number[]; boots: boolean; listens: boolean };

/** An engine that gives the lowest addresses that are free, as Docker does, tells of ends when a test lets it, and answers as late as a test lets it. */
export type AddressWorld = {
  /** Between one process and the engine, until `kill`. */
  open(): { driver: Driver; kill(): void };
  /** Ends what runs under this name; its event waits to be sent. */
  end(service: string): void;
  /** Takes the last of several addresses from what runs under this name, without an event. */
  shrink(service: string): void;
  /** Tells one of the events that wait, or loses it. */
  tell(nth: number): void;
  lose(nth: number): void;
  /** The stream of events broke off and is there again: those that wait are lost. */
  reconnect(): void;
  /** Answers are held from now on, as they were at the time of the call; or all are released. */
  hold(held: boolean): void;
  /** Lets the oldest answer go. */
  letOne(): void;
  /**
   * What boots begins to listen, from the turn after its creation on. An engine that assigns addresses by itself reports one only after the start, so berth cannot
   * store it earlier. Until then, only the end of its previous holder keeps requests for that one away.
   */
  boot(): void;
  /** Whose instance takes connections there. */
  listenerAt(port: number): string | undefined;
  instances(): readonly Instance[];
};

const FIRST_PORT = 1;

/** `addressesOf`: how many addresses what starts under this name is given. */
export function openAddressWorld(addressesOf: (service: string) => number): AddressWorld {
  const running = new Map<string, Instance>();
  const waiting: DriverEvent[] = [];
  const answers: (() => void)[] = [];
  const streams = new Set<(event: DriverEvent) => void>();
  let count = 0;
  let held = false;

  const factOf = ({ id, service, labels, ports }: Instance): Observed => ({
    service,
    labels,
    running: true,
    instance: id,
    addresses: ports.map((port) => ({ host: "10.0.0.1", port })),
  });
  const end = (service: string) => {
    const one = running.get(service);
    if (!one) return;
    running.delete(service);
    waiting.push({ kind: "changed", service, container: one.labels.container, ended: { instance: one.id } });
  };
  const lowestFree = (count: number) => {
    const taken = new Set([...running.values()].flatMap(({ ports }) => ports));
    const free: number[] = [];
    for (let port = FIRST_PORT; free.length < count; port++) if (!taken.has(port)) free.push(port);
    return free;
  };
  /** An answer describes the time of the call. */
  const later = async <T>(answer: T): Promise<T> => {
    if (held) await new Promise<void>((resolve) => answers.push(resolve));
    return answer;
  };
  const tellAll = (event: DriverEvent) => {
    for (const stream of streams) stream(event);
  };

  const open: AddressWorld["open"] = () => {
    const dead = new AbortController();
    const silence = new Promise<never>(() => {});
    const ask = async <T>(answer: () => T | Promise<T>): Promise<T> => {
      if (dead.signal.aborted) return silence;
      const came = await answer();
      return dead.signal.aborted ? silence : came;
    };
    const driver: Driver = {
      name: "process",
      resolve: async ({ ref }) => ({ id: ref, exposed: [80], command: [] }),
      deploy: (spec, { signal, onAddresses }) =>
        ask(async () => {
          signal.throwIfAborted();
          const before = running.get(spec.service);
          const good = before?.labels.generation === spec.labels.generation;
          if (before && !good) end(spec.service);
          const { service, labels } = spec;
          const one =
            before && good ? before : { id: `i${++count}`, service, labels, ports: lowestFree(addressesOf(service)), boots: false, listens: false };
          running.set(spec.service, one);
          if (one !== before) void turns(1).then(() => (one.boots = true));
          onAddresses?.(factOf(one).addresses, one.id, one !== before);
          while (!one.listens && !dead.signal.aborted) {
            signal.throwIfAborted();
            if (running.get(spec.service) !== one) throw new Fault("CONTAINER_CRASHED", "It ended.");
            await turns(1);
          }
          return later({ addresses: factOf(one).addresses, instance: one.id, phases: { create: 1, boot: 1 } });
        }),
      destroy: (service) => ask(() => end(service)),
      inspect: (service) => {
        const one = running.get(service);
        return ask(() => later(one && factOf(one)));
      },
      list: () => {
        const all = [...running.values()].map(factOf);
        return ask(() => later(all));
      },
      logs: async function* () {},
      events: async function* ({ signal }) {
        const events: DriverEvent[] = [{ kind: "connected" }];
        let wake = () => {};
        const stream = (event: DriverEvent) => {
          events.push(event);
          wake();
        };
        streams.add(stream);
        signal.addEventListener("abort", () => wake(), { once: true });
        while (!signal.aborted && !dead.signal.aborted) {
          const event = events.shift();
          if (event) yield event;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
        streams.delete(stream);
      },
      close: async () => {},
    };
    return {
      driver,
      kill: () => {
        dead.abort();
        streams.clear();
        // No caller is left for the answers.
        for (const answer of answers.splice(0)) answer();
      },
    };
  };

  return {
    open,
    end,
    shrink: (service) => {
      const one = running.get(service);
      if (one && one.ports.length > 1) one.ports.pop();
    },
    tell: (nth) => {
      const [event] = waiting.splice(nth % Math.max(1, waiting.length), 1);
      if (event) tellAll(event);
    },
    lose: (nth) => void waiting.splice(nth % Math.max(1, waiting.length), 1),
    reconnect: () => {
      waiting.length = 0;
      tellAll({ kind: "disconnected" });
      tellAll({ kind: "connected" });
    },
    hold: (now) => {
      held = now;
      if (!held) for (const answer of answers.splice(0)) answer();
    },
    letOne: () => answers.shift()?.(),
    boot: () => {
      for (const one of running.values()) one.listens ||= one.boots;
    },
    listenerAt: (port) => [...running.values()].find(({ ports, listens }) => ports.includes(port) && listens)?.labels.container,
    instances: () => [...running.values()],
  };
}
