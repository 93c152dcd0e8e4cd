import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Test } from "tap";
import type { AccessRecord } from "../../../../gateway/access-record.ts";
import type { GatewayLimits } from "../../../../gateway/limits.ts";
import { ownKeys } from "../../../correctness/open-berth.ts";
import type { SocketKind } from "../../../fixtures/connections.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { openStand } from "../../stand.ts";
import { describeClient, judgeClient } from "./judge-client.ts";
import { planClient, type PlannedClient, type PlannedRequest } from "./plan.ts";
import { playClient } from "./scripted-client.ts";
import { openScriptedContainer, type ContainerRecord } from "./scripted-container.ts";

type OrdersOptions = {
  sockets: SocketKind;
  secured: boolean;
  seed: number;
  count: number;
  /** Time limits that strike within a play; undefined: those of usual use, which do not. */
  limits?: Partial<GatewayLimits> | undefined;
};

type OrdersResult = { problems: string[]; answers: number; cuts: number };

/** Clients at once. */
const LANES = 12;
const MAX_PROBLEMS = 3;

/** Orderly clients have containers of their own: elsewhere a connection of another client may break at any moment. */
const CONTAINERS = { orderly: [idOf(1), idOf(2)], others: [idOf(11), idOf(12), idOf(13)] };

function idOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

/** Plays `count` clients, each of which follows from the seed and its number, against one gateway and a few containers. */
export async function playOrders(t: Test, { sockets, secured, seed, count, limits }: OrdersOptions): Promise<OrdersResult> {
  const records = new Map<string, AccessRecord[]>();
  const watch = (record: AccessRecord) => {
    const id = record.head?.target.split("/").at(-1) ?? "";
    records.set(id, [...(records.get(id) ?? []), record]);
  };
  const stand = await openStand(t, {
    forwarder: "splice",
    sockets,
    watchers: [watch],
    limits: limits ?? {},
    ...(secured ? { tls: ownKeys(t) } : {}),
  });
  const planned = new Map<string, PlannedRequest>();
  const record: ContainerRecord = { came: new Map(), problems: [] };
  const ids = [...CONTAINERS.orderly, ...CONTAINERS.others];
  const addresses = new Map(await Promise.all(ids.map(async (id) => [id, await openScriptedContainer(t, planned, record)] as const)));
  const wake = (id: string) => {
    const address = addresses.get(id);
    if (address !== undefined) stand.set(id, { kind: "awake", address });
  };
  for (const id of ids) wake(id);
  const before = new Set(openDescriptors());

  const result: OrdersResult = { problems: [], answers: 0, cuts: 0 };
  const play = async (nth: number) => {
    const plan = planClient(seed, nth);
    for (const request of plan.requests) planned.set(request.id, request);
    const isOrderly = isOrderlyPlan(plan);
    const choices = isOrderly ? CONTAINERS.orderly : CONTAINERS.others;
    const id = choices[nth % choices.length] as string;
    if (plan.waits) {
      stand.set(id, { kind: "coming" });
      setTimeout(wake, 5, id);
    }
    const client = await playClient({ port: stand.port, secured, path: `/api/docker/containers/proxy/${id}` }, plan);
    const problems = judgeClient(plan, client, { mustAnswer: isOrderly && limits === undefined });
    for (const message of client.stream.messages) result[message.complete ? "answers" : "cuts"]++;
    problems.push(...(await judgeRecords(plan, record, records)));
    if (problems.length > 0) result.problems.push(`${problems.join("; ")} (seed ${seed}, client ${nth})\n${describeClient(plan, client)}`);
  };
  let next = 0;
  const lane = async () => {
    while (next < count && result.problems.length + record.problems.length < MAX_PROBLEMS) await play(next++);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  result.problems.push(...record.problems);

  for (const id of ids) stand.set(id, { kind: "coming" });
  await eventually("every exchange is released", () => ids.every((id) => isUnused(stand.uses.get(id))));
  if (stand.reports.some(({ open, streams }) => open < 0 || streams < 0)) result.problems.push("A lease was released twice");
  const left = () => openDescriptors().filter((inode) => !before.has(inode));
  await eventually(
    () => `no connection is left, on port ${stand.port} and containers' ${JSON.stringify([...addresses.values()])}:\n${describeDescriptors(left())}`,
    () => left().length === 0,
  );
  return result;
}

function isOrderlyPlan({ requests, leave, tail }: PlannedClient): boolean {
  return leave === undefined && tail === "" && requests.every(({ answer }) => answer.ending === "whole");
}

function isUnused(use: { open: number; streams: number } | undefined): boolean {
  return use === undefined || (use.open === 0 && use.streams === 0);
}

/** An exchange that a container has had is recorded once. */
async function judgeRecords({ requests }: PlannedClient, { came }: ContainerRecord, records: Map<string, AccessRecord[]>): Promise<string[]> {
  const problems: string[] = [];
  for (const { id } of requests) {
    if (came.has(id)) await eventually(`the exchange of ${id} is recorded`, () => records.has(id));
    const all = records.get(id) ?? [];
    if (all.length > 1) problems.push(`The exchange of ${id} was recorded ${all.length} times`);
    records.delete(id);
    came.delete(id);
  }
  return problems;
}

/** The inodes of this process's sockets and pipes: a body that the kernel moves has a pipe. */
function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((file) => {
    try {
      return /^(?:socket|pipe):\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${file}`))?.[1] ?? [];
    } catch {
      return [];
    }
  });
}

/** The lines of sockets in the kernel's table: both addresses, the state, and what is queued. */
function describeDescriptors(inodes: readonly string[]): string {
  const table = readFileSync("/proc/self/net/tcp", "latin1").split("\n");
  return inodes.map((inode) => table.find((line) => line.includes(` ${inode} `)) ?? inode).join("\n");
}
