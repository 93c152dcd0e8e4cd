import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import { type Test } from "tap";
import type { Address, Driver, Labels, Observed, Spec } from "../../../drivers/driver.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import type { Harness, TestSource } from "./harness.ts";
import { PATIENCE_MS } from "../../fixtures/eventually.ts";

const STORE = randomUUID();
const TEST_MS = 2 * PATIENCE_MS;

/** A running number in each name keeps parallel runs and repeated ones apart. */
export function namer(prefix: string): (what: string) => string {
  const run = randomUUID().slice(0, 8);
  return (what) => `${prefix}-${run}-${what}`;
}

export function labelsFor(service: string, generation = 1): Labels {
  return { store: STORE, environment: "test", container: `container-of-${service}`, generation };
}

export async function specOf(driver: Driver, service: string, source: TestSource, more: Partial<Spec> = {}): Promise<Spec> {
  const image = await driver.resolve(source, call());
  const { id, exposed } = image;
  const port = "port" in more ? more.port : (source.port ?? exposed[0]);
  const sizes = { cpu: 0.5, memoryMb: 256, shmMb: 64, storageGb: 21, gpu: 0 };
  return {
    service,
    labels: labelsFor(service),
    image: id,
    folder: source.folder,
    env: {},
    ...sizes,
    port,
    readiness: port === undefined ? { kind: "running" } : { kind: "port" },
    graceMs: 300,
    ...more,
  };
}

export const call = (ms = TEST_MS) => ({ signal: AbortSignal.timeout(ms) });

export async function rejectsWith(t: Test, code: FaultCode, task: Promise<unknown>): Promise<Fault> {
  const error = await task.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  t.ok(error instanceof Fault, `fails with a fault: ${String(error)}`);
  t.equal((error as Fault | undefined)?.code, code);
  return error as Fault;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;

/** The lines of a log tail without their times, which they have unless the driver knows none. */
export function untimed(t: Test, { cannot = {} }: Pick<Harness, "cannot">, lines: readonly string[] = []): string[] {
  const hasTimes = cannot["log-times"] === undefined;
  t.ok(
    lines.every((line) => TIME.test(line) === hasTimes),
    hasTimes ? "each line has its time" : "no line has a time",
  );
  return lines.map((line) => line.replace(TIME, ""));
}

export async function text(pieces: AsyncIterable<string>): Promise<string> {
  let all = "";
  for await (const piece of pieces) all += piece;
  return all;
}

export async function get(address: Address, path: string): Promise<unknown> {
  const response = await fetch(`http://${address.host}:${address.port}${path}`);
  return response.json();
}

export function accepted({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}

export function addressOf({ addresses }: { addresses: readonly Address[] }): Address {
  const [address] = addresses;
  if (address === undefined || addresses.length > 1) throw new Error(`The deployment has ${addresses.length} addresses.`);
  return address;
}

/** All other fields of a service, where the instance does not matter. */
export function withoutInstance(fact: Observed | undefined): Observed | undefined {
  if (fact === undefined) return undefined;
  const { instance: _, ...rest } = fact;
  return rest;
}
